"""Settings of the app, loaded from the environment and `.env`, which no other module reads.

The groups of settings are declared in the modules `settings_*`. The environment overrides
`.env`. A wrong value stops the start with one line that names the variable and says what is
allowed. `cmw_agent.config.docs` generates the README's table and `.env.example`.
"""

import difflib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import PrivateAttr, SecretStr, ValidationError

from cmw_agent.config.declarations import SettingValueError
from cmw_agent.config.settings_base import PREFIX
from cmw_agent.config.settings_channel import ChannelSettings
from cmw_agent.config.settings_limit import LimitSettings
from cmw_agent.config.settings_look import LookSettings
from cmw_agent.config.settings_model import ModelSettings
from cmw_agent.config.settings_operation import OperationSettings
from cmw_agent.config.settings_server import ServerSettings
from cmw_agent.config.settings_tool import ToolSettings
from cmw_agent.config.validators import ApiKey, KeyLimits
from cmw_agent.core.errors import StartupError

SHOWN_CHARS = 60  # of a wrong value or name
NO_SUCH_KEY = "{} must name keys of CMW_API_KEYS by the names that they have there"
HALF = "OPENID_PROVIDER_URL and OAUTH_CLIENT_ID must be set both or neither, not one alone"

NO_ACCOUNTS = "CMW_SHARES must be off or link where nobody can sign in (OPENID_PROVIDER_URL)"


class SettingsError(StartupError):
    """The settings are not valid; the message has one line for each problem.

    Args:
        lines: One sentence each, which names the variable and what is allowed.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


# pydantic orders the fields from the last base to the first, and the README's table likewise.
class Settings(
    OperationSettings,
    ChannelSettings,
    LookSettings,
    ServerSettings,
    LimitSettings,
    ToolSettings,
    ModelSettings,
):
    """The settings of one process: frozen, and without secrets in its repr.

    The app uses `load_settings`. The constructor takes fields by name, reads the environment
    but no file, and raises pydantic's `ValidationError`.
    """

    _unknown: tuple[str, ...] = PrivateAttr(())
    _env_file: Path | None = PrivateAttr(None)

    @property
    def voice_input(self) -> bool:
        """Whether the page offers a microphone."""
        is_named = "transcription_model" in self.model_fields_set or self.openai_base_url is None
        may_ask = not self.demo and not self.needs_visitor_key
        return may_ask and (self.voice == "on" or (self.voice == "auto" and is_named))

    @property
    def demo(self) -> bool:
        """Whether the demo model answers, because neither a key nor an address is set."""
        has_endpoint = self.openai_api_key is not None or self.openai_base_url is not None
        return not has_endpoint and self.visitor_keys == "off"

    @property
    def needs_visitor_key(self) -> bool:
        """Whether requests to the settings' endpoint carry visitors' own keys alone."""
        has_none = self.visitor_keys == "optional" and self.openai_api_key is None
        return self.visitor_keys == "required" or has_none

    @property
    def endpoint_key(self) -> SecretStr | None:
        """The operator's key of the settings' endpoint, where requests may bring it."""
        return None if self.needs_visitor_key else self.openai_api_key

    @property
    def connections(self) -> bool:
        """Whether users may connect their accounts as tools."""
        return self.composio_api_key is not None and bool(self.toolkits)

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys of the REST interface, each with its scopes, agents and limits."""
        by_name = {item.name: item for item in self.key_scopes}
        limits = {item.name: item for item in self.key_limits}
        others = limits.get(KeyLimits().name, KeyLimits())
        keys = (replace(key, limits=limits.get(key.name, others)) for key in self.api_keys)
        return tuple(
            replace(key, scopes=scope.scopes, agents=scope.agents)
            if (scope := by_name.get(key.name)) is not None
            else key
            for key in keys
        )

    @property
    def accounts(self) -> bool:
        """Whether visitors may sign in."""
        return self.openid_provider_url is not None and self.oauth_client_id is not None

    def secret(self, name: str) -> SecretStr | None:
        """Return the value of the environment variable `name`, or of its line in the `.env` file.

        For secrets whose variables `agents.toml` names. None where the variable is not set or empty.
        """
        value = os.environ.get(name)
        if value is None and self._env_file is not None:
            value = dotenv_values(self._env_file, encoding="utf-8-sig").get(name)
        return SecretStr(value.strip()) if value and value.strip() else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """One sentence for each CMW_ variable that is not a setting, to be logged at the start."""
        return self._unknown


def variable(field: str) -> str:
    """Return the name of the environment variable of the setting `field`."""
    return str(Settings.model_fields[field].validation_alias)


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """Return the settings from the environment and `env_file`.

    Args:
        env_file: A file of NAME=value lines, which need not exist; None reads no file.
            Variables of the environment override it.

    Raises:
        SettingsError: A value is not allowed, or the file cannot be read. The message has one
            line for each problem and contains no secret.
    """
    file_names = _names_in(env_file) if env_file is not None else set()
    try:
        settings = Settings(_env_file=env_file, _env_file_encoding="utf-8-sig")
    except ValidationError as error:
        # Not chained: the cause contains the values, secrets included.
        raise SettingsError(_problems(error)) from None
    if not settings.accounts and (settings.openid_provider_url or settings.oauth_client_id):
        raise SettingsError([HALF])
    names = {key.name for key in settings.api_keys}
    if not {item.name for item in settings.key_scopes} <= names:
        raise SettingsError([NO_SUCH_KEY.format(variable("key_scopes"))])
    if not {item.name for item in settings.key_limits} <= {*names, KeyLimits().name}:
        raise SettingsError([NO_SUCH_KEY.format(variable("key_limits"))])
    if settings.shares == "accounts" and not settings.accounts:
        raise SettingsError([NO_ACCOUNTS])
    settings._unknown = _unknown_names(file_names | set(os.environ))  # noqa: SLF001 (own module)
    settings._env_file = env_file  # noqa: SLF001
    return settings


def _names_in(env_file: Path) -> set[str]:
    # pydantic-settings ignores a file that it cannot find or parse, so that a key in it would
    # silently be missing.
    try:
        with env_file.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError:
        if not env_file.is_symlink():
            return set()
        raise SettingsError([f"{env_file} cannot be read: its link leads nowhere"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{env_file} cannot be read: it must be UTF-8 text"]) from None
    except OSError as error:
        raise SettingsError([f"{env_file} cannot be read: {error.strerror}"]) from None
    problems = [
        f"{env_file} line {binding.original.line} must be NAME=value, a # comment or empty"
        for binding in bindings
        if binding.error or (binding.key is not None and binding.value is None)
    ]
    if problems:
        raise SettingsError(problems)
    return {binding.key for binding in bindings if binding.key is not None}


def _problems(error: ValidationError) -> Iterator[str]:
    for details in error.errors():
        # A default that depends on an invalid setting is not a problem of its own.
        if details["type"] != "default_factory_not_called":
            cause = details.get("ctx", {}).get("error")
            yield _problem(str(details["loc"][0]), details["input"], cause)


def _problem(location: str, value: object, cause: object) -> str:
    name, info = next(
        (variable(field), info)
        for field, info in Settings.model_fields.items()
        if location in (field, variable(field))
    )
    if isinstance(cause, SettingValueError):
        return f"{name} {cause}"
    allowed = info.json_schema_extra["allowed"] if isinstance(info.json_schema_extra, dict) else ""
    # The value may contain a password even if it is not a valid secret.
    is_secret = any(kind in str(info.annotation) for kind in ("Secret", "ApiKey", "KeyGrant"))
    shown = "" if is_secret else f", not {str(value)[:SHOWN_CHARS]!r}"
    return f"{name} must be {allowed}{shown}"


def _unknown_names(names: Iterable[str]) -> tuple[str, ...]:
    variables = [variable(field) for field in Settings.model_fields]
    lines = []
    for name in sorted(names):
        if name in variables or not name.upper().startswith(PREFIX):
            continue
        similar = difflib.get_close_matches(name.upper(), variables, n=1)
        hint = f"; did you mean {similar[0]}?" if similar else ""
        lines.append(f"{ascii(name[:SHOWN_CHARS])[1:-1]} is not a setting{hint}")
    return tuple(lines)
