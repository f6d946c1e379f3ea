"""What settings and `agents.toml` may call a user whom an OpenID provider has proved, or an API key.

A user name stands as it is; a subject, a verified e-mail address, a group and an API key have a
prefix, so that nobody who calls themselves so can pass for one.
"""

from typing import Final

GROUP: Final = "group:"
SUBJECT: Final = "sub:"
EMAIL: Final = "email:"
KEY: Final = "key:"
PREFIXES: Final = (GROUP, SUBJECT, EMAIL, KEY)


def canonical(name: str) -> str:
    """Return a name of a list in the form in which an account has it.

    Raises:
        ValueError: It is a prefix alone, or an address without @.
    """
    if name in PREFIXES or (name.startswith(EMAIL) and "@" not in name):
        raise ValueError
    return name.lower() if name.startswith(EMAIL) else name
