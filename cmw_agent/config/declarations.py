"""Declares settings: default, help text, allowed values, and the check of the text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BeforeValidator, Field, SecretStr


class SettingValueError(ValueError):
    """The value is well formed but cannot be used; the message completes "NAME …"."""


def checked(check: Callable[[str], object]) -> BeforeValidator:
    """Return a pydantic validator that replaces a setting's text by what `check` returns.

    Args:
        check: One of the functions of `cmw_agent.config.validators` and its neighbours.
    """

    def validate(value: object) -> object:
        if isinstance(value, SecretStr):
            return SecretStr(str(check(value.get_secret_value())))
        return check(str(value)) if isinstance(value, str | Path) else value

    return BeforeValidator(validate)


def setting(
    default: object, text: str, allowed: str, *, shown: str | None = None, **options: Any
) -> Any:
    """Declare a setting.

    Args:
        default: The default, or a function of the settings that are declared before this one.
        text: Description for the README's table and `.env.example`.
        allowed: The allowed values; completes "NAME must be …".
        shown: The default in words, if `default` is not readable.
        options: Limits and other arguments of pydantic's `Field`.
    """
    options["default_factory" if callable(default) else "default"] = default
    options["json_schema_extra"] = {"allowed": allowed, "shown": shown}
    return Field(description=text, **options)


def seconds(default: int, text: str, maximum: int) -> Any:
    """Declare a setting in seconds, above 0 and at most `maximum`."""
    allowed = f"a number of seconds above 0 and at most {maximum}"
    return setting(default, text, allowed, gt=0, le=maximum, allow_inf_nan=False)


def count(default: int, text: str, minimum: int, maximum: int) -> Any:
    """Declare a setting that is a whole number from `minimum` to `maximum`."""
    allowed = f"a whole number from {minimum} to {maximum}"
    return setting(default, text, allowed, ge=minimum, le=maximum)
