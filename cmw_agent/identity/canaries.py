"""Canaries: hidden marks of owners, by which a text of one shows when it reaches another.

A canary is `cmwx`, a tag of its owner and a code over the tag, both derived from the secret key. So
any process recognises the canaries of all owners without a list of them, and nobody without the
key can make one.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from hashlib import sha256

PREFIX = "cmwx"
TAG, CODE = 16, 10  # letters of base32: 80 and 50 bits
LENGTH = len(PREFIX) + TAG + CODE
_LETTER = "[a-z2-7]"
# Looks ahead, since what begins like a canary may have one in it.
_CANARY = re.compile(rf"{PREFIX}(?=({_LETTER}{{{TAG}}})({_LETTER}{{{CODE}}}))")
# The beginning of a canary at the end of a text.
_BEGUN = re.compile(rf"(?:c|cm|cmw|{PREFIX}{_LETTER}{{0,{TAG + CODE - 1}}})\Z")
_STARTS = tuple(PREFIX[:length] for length in range(1, len(PREFIX)))


class Canaries:
    """Makes and recognises the canaries of a deployment.

    Args:
        keys: Its secret keys; the first makes canaries, all recognise them.

    Raises:
        ValueError: There is no key.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ValueError("canaries need a secret key")
        self._keys = [hmac.digest(key.encode(), b"cmw.canaries", sha256) for key in keys]

    def of(self, owner: str) -> str:
        """Return an owner's canary, 30 letters and digits.

        Raises:
            ValueError: The owner is empty.
        """
        return self._made(self._keys[0], owner)

    def own(self, owner: str) -> frozenset[str]:
        """Return the canaries that an owner has had under all keys."""
        return frozenset(self._made(key, owner) for key in self._keys)

    def found(self, text: str) -> list[str]:
        """Return the canaries in a text, whoever's they are."""
        if PREFIX not in text:
            return []
        return [
            "".join(match.group(0, 1, 2))
            for match in _CANARY.finditer(text)
            if self._is_made(match)
        ]

    def _made(self, key: bytes, owner: str) -> str:
        if not owner:
            raise ValueError("a canary needs an owner")
        tag = _letters(key, f"tag\0{owner}", TAG)
        return f"{PREFIX}{tag}{_letters(key, f'code{tag}', CODE)}"

    def _is_made(self, match: re.Match[str]) -> bool:
        tag, code = match.groups()
        return any(
            hmac.compare_digest(code, _letters(key, f"code{tag}", CODE)) for key in self._keys
        )


def is_suspect(text: str) -> bool:
    """Return whether a text may hold a canary, or end with the beginning of one."""
    return PREFIX in text or text.endswith(_STARTS)


def begun(text: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a canary."""
    match = _BEGUN.search(text, max(0, len(text) - LENGTH))
    return len(text) - match.start() if match else 0


def _letters(key: bytes, text: str, count: int) -> str:
    digest = hmac.digest(key, text.encode(), sha256)
    return base64.b32encode(digest).decode().lower()[:count]
