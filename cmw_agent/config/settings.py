"""Every setting once, with its help text; the environment and `.env` are read here alone.

The environment wins over `.env`. A wrong value stops the start with one line that
names the variable and says what is allowed. The README's table and `.env.example`
are made from this module by `cmw_agent.config.docs`.
"""

import difflib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv.parser import parse_stream
from pydantic import AliasGenerator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cmw_agent.config import validators as values
from cmw_agent.config.validators import ApiKey, KeyScope, Price, checked, count, seconds, setting
from cmw_agent.core.errors import StartupError

PREFIX = "CMW_"
SHOWN_CHARS = 60
NO_SUCH_KEY = "CMW_KEY_SCOPES must name keys of CMW_API_KEYS by the names that they have there"
HALF = "OPENID_PROVIDER_URL and OAUTH_CLIENT_ID must be set both or neither, not one alone"


class SettingsError(StartupError):
    """The settings are wrong; the text holds one line for each problem.

    Args:
        lines: One sentence each, which names the variable and what is allowed.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def _by_place(spaces: str, elsewhere: str) -> Callable[[dict[str, Any]], str]:
    return lambda known: spaces if known.get("space_id") else elsewhere


def _own_model(known: dict[str, Any]) -> str:
    has_endpoint = known.get("openai_api_key") or known.get("openai_base_url")
    return "gpt-4o-mini" if has_endpoint else "demo"


def _own_database(known: dict[str, Any]) -> SecretStr:
    return SecretStr(values.sqlite_url(known.get("data_dir", Path("data"))))


class Settings(BaseSettings):
    """The settings of one process: frozen, and without a secret in its repr.

    The app gets one from `load_settings`. Built directly it takes fields by name, reads
    the environment but no file, and raises pydantic's `ValidationError`.
    """

    model_config = SettingsConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda field: PREFIX + field.upper()),
        case_sensitive=True,
        # Fields may be given by name, and pydantic-settings then takes a variable of that
        # name too; the prefix keeps a shell's own `host` or `port` out.
        env_prefix=PREFIX,
        env_ignore_empty=True,
        enable_decoding=False,
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        validate_by_name=True,
    )

    space_id: str | None = Field(None, validation_alias="SPACE_ID")
    """Set by Hugging Face Spaces, and by nobody else."""
    space_host: str | None = Field(None, validation_alias="SPACE_HOST")
    """The name under which a Space is reached; set by Hugging Face Spaces as well."""

    openai_api_key: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Key of the model's endpoint. A key alone means OpenAI's own endpoint.",
        "one word of printable ASCII characters",
        shown="none; the demo model answers unless an address is set",
        validation_alias="OPENAI_API_KEY",
    )
    openai_base_url: Annotated[str | None, checked(values.base_url)] = setting(
        None,
        "Address of any OpenAI-compatible endpoint (OpenRouter, the Hugging Face router, Ollama, "
        "vLLM …). An address alone is asked without a key.",
        "an http:// or https:// address without user name, ? and #",
        shown="OpenAI's own, where a key is set",
        validation_alias="OPENAI_BASE_URL",
    )
    model: Annotated[str, checked(values.line)] = setting(
        _own_model,
        "Name of the model, as the endpoint knows it.",
        "a name of at most 200 characters on one line",
        shown="`gpt-4o-mini`; `demo` where neither key nor address is set",
        max_length=200,
    )
    model_timeout: float = seconds(
        60, "Seconds to wait for the model to send anything at all.", 3600
    )
    turn_timeout: float = seconds(300, "Seconds that a whole turn may last.", 86400)
    demo_pause: float = setting(
        0.015,
        "Seconds between two words of the demo model's answers.",
        "a number of seconds from 0 to 1",
        ge=0,
        le=1,
        allow_inf_nan=False,
    )
    stream_usage: bool = setting(
        True,
        "Ask the endpoint to count tokens. A few servers refuse `stream_options`: "
        "set `false` for them.",
        "true or false",
    )
    system_prompt: Annotated[str, checked(values.prose)] = setting(
        "You are a helpful assistant. Answer in the language of the question.",
        "What the model is told before each conversation.",
        "text of at most 20000 characters",
        max_length=20000,
    )
    history_tokens: int = count(
        8000, "Tokens of the conversation that the model sees, newest first.", 200, 10_000_000
    )

    models: Annotated[tuple[str, ...], checked(values.lines)] = setting(
        (),
        "Further models of the same endpoint, comma-separated, that users may pick for a "
        "conversation.",
        "names of models separated by commas",
        shown="none",
    )
    prices: Annotated[tuple[Price, ...], checked(values.prices)] = setting(
        (),
        "What models cost, comma-separated: `model=input/output` in dollars for a million "
        "tokens. Answers then show their cost.",
        "model=input/output pairs separated by commas, such as gpt-4o-mini=0.15/0.60",
        shown="none",
    )
    agents_file: Annotated[Path, checked(values.folder)] = setting(
        Path("agents.toml"),
        "File of agent profiles: id, name, prompt, model, toolkits, allowed origins and access "
        "of each.",
        "a file's path on one line, without ?",
        shown="`agents.toml` where it is there; one agent, `assistant`, otherwise",
    )
    user_field: Annotated[
        Literal["auto", "safety_identifier", "user", "off"], checked(values.lower)
    ] = setting(
        "auto",
        "The field in which the endpoint is told an opaque name of the user whose request it "
        "is; `auto` finds out at the start which one the endpoint takes.",
        "auto, safety_identifier, user or off",
    )
    cache_salt: Annotated[Literal["off", "on", "prompt_cache_key"], checked(values.switch)] = (
        setting(
            "off",
            "Keep users apart in the endpoint's prefix cache: `on` sends vLLM's `cache_salt`, "
            "`prompt_cache_key` OpenAI's field of that name.",
            "on, off or prompt_cache_key",
        )
    )
    transcription_model: Annotated[str, checked(values.line)] = setting(
        "whisper-1",
        "Model that the endpoint's `/audio/transcriptions` is asked for.",
        "a name of at most 200 characters on one line",
        max_length=200,
    )

    composio_api_key: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Key of a Composio project: with it each user connects accounts of their own as tools.",
        "one word of printable ASCII characters",
        shown="none; no connections",
        validation_alias="COMPOSIO_API_KEY",
    )
    composio_base_url: Annotated[str, checked(values.base_url)] = setting(
        "https://backend.composio.dev",
        "Address of Composio.",
        "an http:// or https:// address without user name, ? and #",
        validation_alias="COMPOSIO_BASE_URL",
    )
    toolkits: Annotated[tuple[str, ...], checked(values.slugs)] = setting(
        (),
        "Composio toolkits that users may connect, comma-separated, such as `asana,gmail`.",
        "names of small letters, digits, - and _ separated by commas",
        shown="none",
    )
    approval: Annotated[Literal["changes", "all", "none"], checked(values.lower)] = setting(
        "changes",
        "Which tool calls wait for the user's approval: those that may change something outside "
        "(`changes`; what is not known to only read counts as such), `all` of connected tools, or "
        "none.",
        "changes, all or none",
    )
    trusted_tools: Annotated[frozenset[str], checked(values.names)] = setting(
        frozenset(),
        "Tools, comma-separated, that never wait for approval.",
        "names of tools separated by commas",
        shown="none",
    )
    approval_seconds: float = seconds(
        300, "Seconds to wait for an approval; the call counts as denied then.", 86400
    )

    turns_per_minute: int = count(
        30, "Messages that one user may send in a minute; 0 sets no limit.", 0, 1_000_000
    )
    tokens_per_day: int = count(
        0, "Tokens that one user may use in a day; 0 sets no limit.", 0, 1_000_000_000_000
    )
    turns_at_once: int = count(
        5, "Answers that may be written for one user at once; 0 sets no limit.", 0, 10_000
    )
    turns_per_address: int = count(
        300,
        "Messages that one network address may send in a minute, whoever asks; 0 sets no limit. "
        "Behind a proxy set `CMW_TRUST_PROXY`, or all users share the proxy's address.",
        0,
        1_000_000,
    )
    address_share: float = setting(
        0.5,
        "Share of the app that one network address may hold while nobody else does: of turns, open "
        "pages, connections, uploads and the like. The more others hold, the less it may; 1 sets "
        "no limit.",
        "a number from 0.01 to 1",
        ge=0.01,
        le=1,
        allow_inf_nan=False,
    )
    max_tool_calls: int = count(25, "Tool calls of one answer.", 1, 1000)
    max_model_calls: int = count(12, "Model calls of one answer.", 1, 1000)
    redis_url: Annotated[SecretStr | None, checked(values.redis_url)] = setting(
        None,
        "Redis that counts for the limits of all replicas together.",
        "redis://HOST:PORT/NUMBER or rediss://…",
        shown="none; each process counts for itself",
    )

    max_file_bytes: int = count(20_000_000, "Bytes of one uploaded file.", 1024, 1_073_741_824)
    file_quota_bytes: int = count(
        200_000_000, "Bytes of all files that one user keeps.", 1024, 1_099_511_627_776
    )
    file_total_bytes: int = count(
        20_000_000_000, "Bytes of all files that all users keep.", 1024, 1_125_899_906_842_624
    )
    disk_spare_bytes: int = count(
        1_000_000_000, "Bytes of the disk that uploads leave free.", 0, 1_125_899_906_842_624
    )
    extraction_seconds: float = seconds(30, "Seconds that reading a document may take.", 3600)
    extraction_megabytes: int = count(
        1024, "Megabytes of memory that reading a document may take.", 256, 1_048_576
    )

    data_dir: Annotated[Path, checked(values.folder)] = setting(
        Path("data"),
        "Folder of the database and the made secret key; made when absent.",
        "a folder's path on one line, without ?",
    )
    database_url: Annotated[SecretStr, checked(values.database_url)] = setting(
        _own_database,
        "SQLAlchemy URL of the database, SQLite or PostgreSQL.",
        "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME",
        shown="`chat.db`, a SQLite file in `CMW_DATA_DIR`",
    )
    secret_key: Annotated[SecretStr | None, checked(values.secret_keys)] = setting(
        None,
        "Keys that sign visitors' cookies, comma-separated: the first signs, all verify. "
        "Replicas share them.",
        f"keys of at least {values.SHORTEST_KEY} printable characters, separated by commas",
        shown="made once and kept in `CMW_DATA_DIR`, readable by its owner alone",
    )

    host: Annotated[str, checked(values.host)] = setting(
        _by_place("0.0.0.0", "127.0.0.1"),  # noqa: S104 (a Space is reached from outside)
        "Address to listen on.",
        "an IP address or a host name, without a port",
        shown="`127.0.0.1`; `0.0.0.0` on Hugging Face Spaces",
    )
    port: int = setting(
        7860,
        "Port to listen on; 0 takes any free one.",
        "a whole number from 0 to 65535",
        ge=0,
        le=65535,
    )
    trust_proxy: Annotated[str, checked(values.proxies)] = setting(
        _by_place(values.INTERNAL_NETWORKS, ""),
        "Proxies whose `X-Forwarded-*` headers are believed: how many there are (`1`, where each "
        "appends to `X-Forwarded-For`), or their addresses and networks, comma-separated. "
        "Right-most entries go first.",
        "a number of proxies from 0 to 9, or IP addresses or networks separated by commas",
        shown="none; the private networks on Hugging Face Spaces",
    )
    allowed_hosts: Annotated[frozenset[str], checked(values.hosts)] = setting(
        frozenset(),
        "Names, comma-separated, under which the app answers: what a `Host` header may hold. "
        "`*.example.com` stands for all names below, `*` for any.",
        "host names without a port, separated by commas, or *",
        shown="this machine's own where it listens on a loopback address and trusts no proxy; "
        "the Space's own on Spaces; any elsewhere",
    )
    allowed_origins: Annotated[frozenset[str], checked(values.origins)] = setting(
        frozenset(),
        "Further origins, comma-separated, whose pages may send requests that change something.",
        "origins such as https://example.com:8443, separated by commas",
        shown="none but the page itself",
    )
    frame_ancestors: Annotated[str, checked(values.frame_ancestors)] = setting(
        _by_place("'self' https://huggingface.co https://*.hf.space", "'self'"),
        "Sites that may show the page in a frame, separated by commas or spaces.",
        "self, none, * or sites such as https://*.example.com, separated by commas",
        shown="`self`; also `https://huggingface.co` and `https://*.hf.space` on Spaces",
    )

    admins: Annotated[frozenset[str], checked(values.names)] = setting(
        frozenset(),
        "Names of the users, comma-separated, who may see the statistics.",
        "names separated by commas",
        shown="nobody",
    )

    openid_provider_url: Annotated[str | None, checked(values.provider_url)] = setting(
        None,
        "Address of an OpenID Connect provider with which visitors may sign in; needs "
        "`OAUTH_CLIENT_ID`. Spaces with `hf_oauth: true` set these four themselves.",
        "an https:// address, or an http:// one of this machine",
        shown="none; nobody can sign in",
        validation_alias="OPENID_PROVIDER_URL",
    )
    oauth_client_id: Annotated[str | None, checked(values.token)] = setting(
        None,
        "This app's id at the provider; needs `OPENID_PROVIDER_URL`. The provider must know "
        "the address `…/login/callback` of this app.",
        "one word of printable ASCII characters",
        shown="none",
        validation_alias="OAUTH_CLIENT_ID",
    )
    oauth_client_secret: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "This app's secret at the provider, where it gives one.",
        "one word of printable ASCII characters",
        shown="none; PKCE alone",
        validation_alias="OAUTH_CLIENT_SECRET",
    )
    oauth_scopes: Annotated[str, checked(values.scopes)] = setting(
        "openid profile",
        "What the provider is asked to tell.",
        "words separated by spaces, openid among them",
        validation_alias="OAUTH_SCOPES",
    )

    api_keys: Annotated[tuple[ApiKey, ...], checked(values.api_keys)] = setting(
        (),
        "Keys of the REST interface, comma-separated: `name:key`, or `name:key:https://site.example` "
        "where pages of that origin may use it too. One name with two keys lets a key be changed.",
        f"name:key[:origin…] separated by commas, each key of at least {values.SHORTEST_KEY} "
        "characters and named once",
        shown="none; the REST interface is closed",
        repr=False,
    )
    key_scopes: Annotated[tuple[KeyScope, ...], checked(values.key_scopes)] = setting(
        (),
        "What keys of `CMW_API_KEYS` are for, comma-separated: `name=scope+scope@agent+agent`, "
        "where a scope is `agents`, `v1`, `whatsapp` or `read`. Either half may be left out.",
        "name=scope+scope@agent+agent separated by commas, each name once and each scope one of "
        + ", ".join(values.SCOPES),
        shown="none; each key is for everything, at the agents that are for everyone",
    )
    public_url: Annotated[str | None, checked(values.base_url)] = setting(
        None,
        "Address under which people reach this app; links in messages begin with it.",
        "an http:// or https:// address without user name, ? and #",
        shown="none; links lead to where a request came in",
    )
    whatsapp_secret: Annotated[SecretStr | None, checked(values.secret_keys)] = setting(
        None,
        "Keys that sign what the WhatsApp bridge or Meta's Cloud API sends, comma-separated: each "
        "verifies. For the Cloud API it is the app secret.",
        f"keys of at least {values.SHORTEST_KEY} printable characters, separated by commas",
        shown="none; the channel is closed",
    )
    whatsapp_bridge_url: Annotated[str | None, checked(values.base_url)] = setting(
        None,
        "Address of a WPPConnect bridge, where answers go.",
        "an http:// or https:// address without user name, ? and #",
        shown="none",
    )
    whatsapp_bridge_token: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Token that the bridge asks for.",
        "one word of printable ASCII characters",
        shown="none",
    )
    whatsapp_inline: bool = setting(
        False,
        'Give the bridge its answer in the reply to its own request (`{"reply": …}`), which lasts '
        "as long as the answer takes.",
        "true or false",
    )
    whatsapp_access_token: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Access token of Meta's Cloud API.",
        "one word of printable ASCII characters",
        shown="none",
    )
    whatsapp_phone_number_id: Annotated[str | None, checked(values.token)] = setting(
        None,
        "Id of the phone number at Meta's Cloud API from which answers go.",
        "one word of printable ASCII characters",
        shown="none",
    )
    whatsapp_verify_token: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Word with which Meta verifies the webhook's address.",
        "one word of printable ASCII characters",
        shown="none",
    )
    whatsapp_graph_url: Annotated[str, checked(values.base_url)] = setting(
        "https://graph.facebook.com/v23.0",
        "Address and version of Meta's Graph API.",
        "an http:// or https:// address without user name, ? and #",
    )
    whatsapp_agent: Annotated[str, checked(values.line)] = setting(
        "assistant",
        "Id of the agent that answers on WhatsApp.",
        "an agent's id",
        max_length=40,
    )
    whatsapp_window_seconds: float = seconds(
        86400,
        "Seconds after which a WhatsApp message is too old to be answered; ids are kept as long.",
        2_592_000,
    )

    schedules_per_user: int = count(
        10, "Recurring tasks that one user may have; 0 lets nobody have any.", 0, 1000
    )
    schedule_seconds: float = seconds(
        900, "Seconds that must lie between two runs of a recurring task.", 2_592_000
    )
    time_zone: Annotated[str, checked(values.time_zone)] = setting(
        "UTC",
        "Time zone of recurring tasks whose user names none.",
        "a time zone such as Europe/Berlin",
    )

    session_idle_seconds: float = seconds(
        86400, "Seconds without use after which a session leaves memory.", 31_536_000
    )
    cleanup_seconds: float = seconds(
        3600, "Seconds between two clean-ups of idle sessions and old conversations.", 86400
    )
    retention_days: float = setting(
        0,
        "Days without use after which a conversation is deleted for good; 0 keeps all for ever.",
        "a number of days from 0 to 36500",
        ge=0,
        le=36500,
        allow_inf_nan=False,
    )
    max_sessions: int = count(10_000, "Live sessions in one process.", 1, 1_000_000)
    max_turns: int = count(
        500, "Turns that one process runs at once; further ones are told to wait.", 1, 100_000
    )
    max_body_bytes: int = count(
        262_144, "Bytes of one request; larger ones are refused unread.", 1024, 1_073_741_824
    )
    max_message_chars: int = count(32_000, "Characters of one message.", 1, 10_000_000)
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], checked(values.log_level)
    ] = setting("INFO", "How much is logged.", "DEBUG, INFO, WARNING or ERROR")
    log_format: Annotated[Literal["auto", "text", "json"], checked(values.lower)] = setting(
        "auto",
        "Form of a log line; `auto` is text on a terminal and JSON elsewhere.",
        "auto, text or json",
    )
    metrics_token: Annotated[SecretStr | None, checked(values.token)] = setting(
        None,
        "Bearer token with which `/metrics` is read from other machines.",
        "one word of printable ASCII characters",
        shown="none; `/metrics` answers this machine alone",
    )
    otlp_endpoint: Annotated[str | None, checked(values.base_url)] = setting(
        None,
        "Address of an OpenTelemetry collector (OTLP over HTTP) that gets traces of turns.",
        "an http:// or https:// address without user name, ? and #",
        shown="none; no traces",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    drain_seconds: float = seconds(
        20, "Seconds that running answers may go on after SIGTERM before they are cut off.", 600
    )

    _unknown: tuple[str, ...] = PrivateAttr(())

    @property
    def demo(self) -> bool:
        """Whether the demo model answers, because neither a key nor an address is set."""
        return self.openai_api_key is None and self.openai_base_url is None

    @property
    def connections(self) -> bool:
        """Whether users may connect accounts of theirs as tools."""
        return self.composio_api_key is not None and bool(self.toolkits)

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys of the REST interface, each with what it reaches."""
        reach = {item.name: item for item in self.key_scopes}
        return tuple(
            replace(key, scopes=found.scopes, agents=found.agents)
            if (found := reach.get(key.name)) is not None
            else key
            for key in self.api_keys
        )

    @property
    def accounts(self) -> bool:
        """Whether visitors may sign in."""
        return self.openid_provider_url is not None and self.oauth_client_id is not None

    @property
    def unknown(self) -> tuple[str, ...]:
        """One sentence for each CMW_ variable that is no setting, to be logged at the start."""
        return self._unknown


def variable(field: str) -> str:
    """Return the environment variable of the setting `field`."""
    return str(Settings.model_fields[field].validation_alias)


def load_settings(env_file: Path | None = Path(".env")) -> Settings:
    """Return the settings that the environment and `env_file` give.

    Args:
        env_file: A file of NAME=value lines, which need not exist; None reads none.
            Variables of the environment win over it.

    Raises:
        SettingsError: A value is not allowed, or the file cannot be read; its text has
            one line for each problem and never shows a secret.
    """
    written = _written_names(env_file) if env_file is not None else set()
    try:
        settings = Settings(_env_file=env_file, _env_file_encoding="utf-8-sig")
    except ValidationError as error:
        # Not chained: the cause holds the values, secrets included.
        raise SettingsError(_problems(error)) from None
    if not settings.accounts and (settings.openid_provider_url or settings.oauth_client_id):
        raise SettingsError([HALF])
    if not {item.name for item in settings.key_scopes} <= {key.name for key in settings.api_keys}:
        raise SettingsError([NO_SUCH_KEY])
    settings._unknown = _unknown_names(written | set(os.environ))  # noqa: SLF001 (its own module)
    return settings


def _written_names(env_file: Path) -> set[str]:
    # pydantic-settings passes over a file that it cannot find or understand; here
    # somebody's key would silently not count.
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
        f"{env_file} line {found.original.line} must be NAME=value, a # comment or empty"
        for found in bindings
        if found.error or (found.key is not None and found.value is None)
    ]
    if problems:
        raise SettingsError(problems)
    return {found.key for found in bindings if found.key is not None}


def _problems(error: ValidationError) -> Iterator[str]:
    for found in error.errors():
        # A default that rests on a wrong setting is not a problem of its own.
        if found["type"] != "default_factory_not_called":
            yield _problem(str(found["loc"][0]), found["input"], found.get("ctx", {}).get("error"))


def _problem(place: str, written: object, cause: object) -> str:
    name, info = next(
        (variable(field), info)
        for field, info in Settings.model_fields.items()
        if place in (field, variable(field))
    )
    if isinstance(cause, values.SettingValueError):
        return f"{name} {cause}"
    allowed = info.json_schema_extra["allowed"] if isinstance(info.json_schema_extra, dict) else ""
    # What was written may hold a password even where it is no valid secret.
    is_secret = any(word in str(info.annotation) for word in ("Secret", "ApiKey", "KeyScope"))
    shown = "" if is_secret else f", not {str(written)[:SHOWN_CHARS]!r}"
    return f"{name} must be {allowed}{shown}"


def _unknown_names(names: Iterable[str]) -> tuple[str, ...]:
    known = [variable(field) for field in Settings.model_fields]
    lines = []
    for name in sorted(names):
        if name in known or not name.upper().startswith(PREFIX):
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        lines.append(f"{ascii(name[:SHOWN_CHARS])[1:-1]} is not a setting{hint}")
    return tuple(lines)
