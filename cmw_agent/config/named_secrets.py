"""Secrets that tables of `agents.toml` name by environment variables, and never hold themselves."""

from pydantic import SecretStr

from cmw_agent.config import model_values as reader
from cmw_agent.config.settings import Settings
from cmw_agent.config.toml_tables import problem


def named_secret(variable: str, key: str, subject: str, settings: Settings) -> SecretStr:
    """Return the value of the environment variable that a table names.

    Args:
        variable: Its name.
        key: The table's key that names it, for errors.
        subject: Names the table in errors.
        settings: They read the variable.

    Raises:
        StartupError: It is not set, or is no line of ASCII.
    """
    path = settings.agents_file
    if not reader.VARIABLE.fullmatch(variable):
        raise problem(path, subject, f"{key} must be {reader.HEADERS_ALLOWED}")
    secret = settings.secret(variable)
    if secret is None:
        raise problem(path, subject, f"{key} names the variable {variable}, which is not set")
    if not reader.HEADER_VALUE.fullmatch(secret.get_secret_value()):
        text = f"{key} names the variable {variable}, whose value must be one line of ASCII"
        raise problem(path, subject, text)
    return secret


def text_or_secret(value: str, key: str, subject: str, settings: Settings) -> str:
    """Return a text of a table, or for ``$NAME`` the value of that variable; raises likewise."""
    if not value.startswith("$"):
        return value
    return named_secret(value[1:], key, subject, settings).get_secret_value()
