import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from cmw_agent.config import docs
from cmw_agent.config.settings import Settings, SettingsError, load_settings

ROOT = Path(__file__).parents[2]
CANARY = "canary-7f3a9c51"
NOBODY = 65534

WRONG = [
    ("CMW_TRIPWIRE", "perhaps"),
    ("CMW_RECORD", "what?"),
    ("CMW_RECORD_REDACT", "(open"),
    ("CMW_RECORD_REDACT", "x*"),
    ("CMW_RECORD_BYTES", "12"),
    ("CMW_CERTIFICATE", "two\nlines"),
    ("OPENAI_API_KEY", "two words"),
    ("OPENAI_API_KEY", "schlüssel"),
    ("OPENAI_BASE_URL", "api.example.com/v1"),
    ("OPENAI_BASE_URL", "ftp://example.com"),
    ("OPENAI_BASE_URL", "https://"),
    ("OPENAI_BASE_URL", "https://user:password@example.com/v1"),
    ("OPENAI_BASE_URL", "https://example.com:port/v1"),
    ("OPENAI_BASE_URL", "https://example.com/v1?key=1"),
    ("OPENAI_BASE_URL", "https://example.com/v1?api-version=1#part"),
    ("OPENAI_ORG_ID", "two words"),
    ("OPENAI_PROJECT_ID", "proj\r\nx: y"),
    ("OPENAI_CUSTOM_HEADERS", "no header"),
    ("OPENAI_CUSTOM_HEADERS", "X-Good: 1\nBad Name: 2"),
    ("OPENAI_CUSTOM_HEADERS", "Content-Length: 5"),
    ("OPENAI_CUSTOM_HEADERS", "X-Name: caf\u00e9"),
    ("CMW_VISITOR_KEYS", "sometimes"),
    ("CMW_VISITOR_KEY_URL", "keys.example.com"),
    ("CMW_MODEL", "m" * 201),
    ("CMW_MODEL", "one\ntwo"),
    ("CMW_DEMO_PAUSE", "-0.1"),
    ("CMW_DEMO_PAUSE", "2"),
    ("CMW_MODEL_TIMEOUT", "0"),
    ("CMW_MODEL_TIMEOUT", "soon"),
    ("CMW_TURN_TIMEOUT", "inf"),
    ("CMW_TURN_TIMEOUT", "nan"),
    ("CMW_STREAM_USAGE", "perhaps"),
    ("CMW_SYSTEM_PROMPT", "x" * 20_001),
    ("CMW_SYSTEM_PROMPT", "\udcff"),
    ("CMW_HISTORY_TOKENS", "12.5"),
    ("CMW_DATA_DIR", "what?"),
    ("CMW_DATA_DIR", "two\nlines"),
    ("CMW_DATABASE_URL", "mysql://example.com/chat"),
    ("CMW_DATABASE_URL", "chat.db"),
    ("CMW_DATABASE_URL", "sqlite://"),
    ("CMW_DATABASE_URL", "sqlite:///"),
    ("CMW_DATABASE_URL", "sqlite:///:memory:"),
    ("CMW_DATABASE_URL", "sqlite:///file:x?mode=memory&uri=true"),
    ("CMW_DATABASE_URL", "postgresql://user@host:port/chat"),
    ("CMW_SECRET_KEY", "too short"),
    ("CMW_SECRET_KEY", "a-key-of-sixteen-or-more,short"),
    ("CMW_SECRET_KEY", "a-key-of-sixteen-or-more,"),
    ("CMW_HOST", "127.0.0.1:80"),
    ("CMW_HOST", "http://localhost"),
    ("CMW_PORT", "http"),
    ("CMW_PORT", "-1"),
    ("CMW_PORT", "65536"),
    ("CMW_TRUST_PROXY", "proxy.example.com"),
    ("CMW_TRUST_PROXY", "10.0.0.0/33"),
    ("CMW_TRUST_PROXY", "10"),
    ("CMW_TRUST_PROXY", "-1"),
    ("CMW_TRUST_PROXY", "1,10.0.0.1"),
    ("CMW_ROOT_PATH", "chat"),
    ("CMW_ROOT_PATH", "//evil.example"),
    ("CMW_ROOT_PATH", "/a/../b"),
    ("CMW_ROOT_PATH", "/a?b"),
    ("CMW_ALLOWED_HOSTS", "https://chat.example.com"),
    ("CMW_ALLOWED_HOSTS", "chat.example.com:443"),
    ("CMW_ALLOWED_HOSTS", "chat.*.example.com"),
    ("CMW_ALLOWED_ORIGINS", "example.com"),
    ("CMW_ALLOWED_ORIGINS", "null"),
    ("CMW_ALLOWED_ORIGINS", "*"),
    ("CMW_ALLOWED_ORIGINS", "https://example.com/path"),
    ("CMW_FRAME_ANCESTORS", "https://a.example; script-src *"),
    ("CMW_FRAME_ANCESTORS", "none, self"),
    ("CMW_FRAME_ANCESTORS", "https://*"),
    ("OPENID_PROVIDER_URL", "http://id.example.com"),
    ("OPENID_PROVIDER_URL", "id.example.com"),
    ("OAUTH_CLIENT_ID", "two words"),
    ("OAUTH_CLIENT_SECRET", "two words"),
    ("OAUTH_SCOPES", "profile"),
    ("CMW_ADMINS", "one\ntwo"),
    ("CMW_NAME", "x" * 201),
    ("CMW_LOGO", "no-such-file.png"),
    ("CMW_ICON", "data:text/html,<script>"),
    ("CMW_COLOUR", "teal"),
    ("CMW_WELCOME", "two\nlines"),
    ("CMW_EXAMPLES", "1|2|3|4|5|6|7|8|9"),
    ("CMW_FOOTER", "x" * 201),
    ("CMW_SESSION_IDLE_SECONDS", "-5"),
    ("CMW_RETENTION_DAYS", "-1"),
    ("CMW_RETENTION_DAYS", "36501"),
    ("CMW_RETENTION_DAYS", "nan"),
    ("CMW_CLEANUP_SECONDS", "hourly"),
    ("CMW_MAX_SESSIONS", "0"),
    ("CMW_MAX_TURNS", "many"),
    ("CMW_MAX_BODY_BYTES", "256k"),
    ("CMW_MAX_MESSAGE_CHARS", "0"),
    ("CMW_LOG_LEVEL", "chatty"),
    ("CMW_MODELS", "one\ntwo"),
    ("CMW_PRICES", "gpt-4o-mini"),
    ("CMW_PRICES", "gpt-4o-mini=0.15"),
    ("CMW_PRICES", "=0.15/0.60"),
    ("CMW_PRICES", "gpt-4o-mini=-1/2"),
    ("CMW_PRICES", "gpt-4o-mini=nan/2"),
    ("CMW_AGENTS_FILE", "what?"),
    ("CMW_USER_FIELD", "name"),
    ("CMW_CACHE_SALT", "pepper"),
    ("CMW_TITLES", "some"),
    ("CMW_VOICE", "loud"),
    ("CMW_SUGGESTIONS", "many"),
    ("CMW_TRANSCRIPTION_MODEL", "x" * 201),
    ("COMPOSIO_API_KEY", "two words"),
    ("COMPOSIO_BASE_URL", "backend.composio.dev"),
    ("CMW_TOOLKITS", "asana,Two Words"),
    ("CMW_TOOLKITS", "-asana"),
    ("CMW_APPROVAL", "sometimes"),
    ("CMW_TRUSTED_TOOLS", "one\ntwo"),
    ("CMW_TOOLKIT_VERSIONS", "github"),
    ("CMW_AUTH_CONFIGS", "gmail=a,gmail=b"),
    ("CMW_TOOL_TIMEOUT", "0"),
    ("CMW_MCP_SESSIONS", "0"),
    ("CMW_MCP_SERVER", "yes"),
    ("CMW_USER_MCP", "yes"),
    ("CMW_APPROVAL_SECONDS", "0"),
    ("CMW_TURNS_PER_MINUTE", "-1"),
    ("CMW_TOKENS_PER_DAY", "many"),
    ("CMW_TURNS_AT_ONCE", "-1"),
    ("CMW_ADDRESS_SHARE", "0"),
    ("CMW_TURNS_PER_ADDRESS", "-1"),
    ("CMW_MAX_TOOL_CALLS", "0"),
    ("CMW_MAX_MODEL_CALLS", "0"),
    ("CMW_REDIS_URL", "http://example.com"),
    ("CMW_MAX_FILE_BYTES", "20MB"),
    ("CMW_MAX_IMPORT_MB", "0"),
    ("CMW_FILE_QUOTA_BYTES", "0"),
    ("CMW_FILE_TOTAL_BYTES", "10"),
    ("CMW_DISK_SPARE_BYTES", "-1"),
    ("CMW_EXTRACTION_SECONDS", "0"),
    ("CMW_EXTRACTION_MEGABYTES", "1"),
    ("CMW_API_KEYS", "no-key"),
    ("CMW_API_KEYS", "shop:short"),
    ("CMW_API_KEYS", "Two Words:a-key-of-sixteen-or-more"),
    ("CMW_API_KEYS", "shop:a-key-of-sixteen-or-more:example.com"),
    ("CMW_API_KEYS", "shop:a-key-of-sixteen-or-more,bank:a-key-of-sixteen-or-more"),
    ("CMW_KEY_LIMITS", "shop"),
    ("CMW_KEY_LIMITS", "shop=600"),
    ("CMW_KEY_LIMITS", "shop=600/50"),
    ("CMW_KEY_LIMITS", "shop=600/50/-1"),
    ("CMW_KEY_LIMITS", "shop=600/50/1.5"),
    ("CMW_KEY_LIMITS", "Two Words=600/50/0"),
    ("CMW_KEY_LIMITS", "shop=1/1/1,shop=2/2/2"),
    ("CMW_KEY_SCOPES", "shop"),
    ("CMW_KEY_SCOPES", "shop="),
    ("CMW_KEY_SCOPES", "shop=v1+"),
    ("CMW_KEY_SCOPES", "shop=v1+write"),
    ("CMW_KEY_SCOPES", "shop=V1"),
    ("CMW_KEY_SCOPES", "shop=v1@"),
    ("CMW_KEY_SCOPES", "shop=v1@Support"),
    ("CMW_KEY_SCOPES", "shop=v1@a@b"),
    ("CMW_KEY_SCOPES", "Two Words=v1"),
    ("CMW_KEY_SCOPES", "shop=v1,shop=read"),
    ("CMW_KEY_SCOPES", "shop:a-key-of-sixteen-or-more"),
    ("CMW_WHITESPACE_SECONDS", "-1"),
    ("CMW_PUBLIC_URL", "chat.example.com"),
    ("CMW_WHATSAPP_TEMPLATE", "Has Capitals"),
    ("CMW_WHATSAPP_TEMPLATE", "hello-world"),
    ("CMW_WHATSAPP_TEMPLATE_LANGUAGE", "english"),
    ("CMW_WHATSAPP_TEMPLATE_BODY", "all"),
    ("CMW_WHATSAPP_SECRET", "too short"),
    ("CMW_WHATSAPP_BRIDGE", "telegram"),
    ("CMW_WHATSAPP_BRIDGE_SESSION", "two words"),
    ("CMW_WHATSAPP_NUMBERS", "491511@c.us"),
    ("CMW_WHATSAPP_GROUPS", "some"),
    ("CMW_WHATSAPP_PREFIXES", "a\tb"),
    ("CMW_WHATSAPP_BRIDGE_URL", "localhost:3001"),
    ("CMW_WHATSAPP_BRIDGE_TOKEN", "two words"),
    ("CMW_WHATSAPP_INLINE", "perhaps"),
    ("CMW_WHATSAPP_ACCESS_TOKEN", "two words"),
    ("CMW_WHATSAPP_PHONE_NUMBER_ID", "two words"),
    ("CMW_WHATSAPP_VERIFY_TOKEN", "two words"),
    ("CMW_WHATSAPP_GRAPH_URL", "graph.facebook.com"),
    ("CMW_WHATSAPP_AGENT", "x" * 41),
    ("CMW_WHATSAPP_WINDOW_SECONDS", "0"),
    ("CMW_SCHEDULES_PER_USER", "-1"),
    ("CMW_SCHEDULE_SECONDS", "0"),
    ("CMW_LANGUAGE", "tlh"),
    ("CMW_TIME_ZONE", "Europe/Atlantis"),
    ("CMW_LOG_FORMAT", "xml"),
    ("CMW_LEFT_ANSWERS", "never"),
    ("CMW_SHARES", "everybody"),
    ("CMW_METRICS_TOKEN", "two words"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
    ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY"),
    ("CMW_DRAIN_SECONDS", "0"),
]
SECRETS = (
    "OPENAI_API_KEY",
    "OPENAI_CUSTOM_HEADERS",
    "OAUTH_CLIENT_SECRET",
    "CMW_DATABASE_URL",
    "CMW_SECRET_KEY",
    "COMPOSIO_API_KEY",
    "CMW_REDIS_URL",
    "CMW_API_KEYS",
    "CMW_KEY_SCOPES",
    "CMW_WHATSAPP_SECRET",
    "CMW_WHATSAPP_BRIDGE_TOKEN",
    "CMW_WHATSAPP_ACCESS_TOKEN",
    "CMW_WHATSAPP_VERIFY_TOKEN",
    "CMW_METRICS_TOKEN",
)


def refusal(env_file: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(env_file)
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.env"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_gives_one_line_that_names_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    line = refusal()
    assert line.startswith(f"{name} must be ")
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert len(line) < 250
    assert ("not '" in line) == (name not in SECRETS)


@pytest.mark.parametrize("value", ["*", " * ", "10.0.0.1,*", "1,*"])
def test_trusting_every_proxy_is_refused_with_what_to_write_instead(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMW_TRUST_PROXY", value)
    line = refusal()
    assert line.startswith("CMW_TRUST_PROXY takes no * any more")
    assert "how many proxies" in line


def test_every_setting_has_a_wrong_value_among_these() -> None:
    assert {name for name, _ in WRONG} == set(docs.documented())


def test_shares_for_accounts_need_a_way_to_sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMW_SHARES", "accounts")
    assert refusal().startswith("CMW_SHARES must be off or link where nobody can sign in")
    monkeypatch.setenv("OPENID_PROVIDER_URL", "https://id.example.com")
    monkeypatch.setenv("OAUTH_CLIENT_ID", "chat")
    assert load_settings(None).shares == "accounts"


def test_several_wrong_values_give_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    # A wrong folder leaves the database without a default: still one line, about the folder.
    for name, value in {"CMW_PORT": "x", "CMW_DATA_DIR": "a?b", "OPENAI_BASE_URL": "x"}.items():
        monkeypatch.setenv(name, value)
    names = [line.split()[0] for line in refusal().splitlines()]
    assert sorted(names) == ["CMW_DATA_DIR", "CMW_PORT", "OPENAI_BASE_URL"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("OPENID_PROVIDER_URL", "https://id.example.com"), ("OAUTH_CLIENT_ID", "chat")],
)
def test_half_of_a_sign_in_stops_the_start_with_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not load_settings(None).accounts
    monkeypatch.setenv(name, value)
    line = refusal()
    assert len(line.splitlines()) == 1
    assert "OPENID_PROVIDER_URL and OAUTH_CLIENT_ID must be set both or neither" in line


def test_nothing_set_is_the_demo_on_this_machine_alone() -> None:
    settings = load_settings(None)
    assert settings.demo
    assert (settings.model, settings.host, settings.port) == ("demo", "127.0.0.1", 7860)
    assert settings.trust_proxy == ""
    assert settings.frame_ancestors == "'self'"
    assert settings.database_url.get_secret_value() == "sqlite+aiosqlite:///data/chat.db"
    assert settings.unknown == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [("OPENAI_API_KEY", "sk-1"), ("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")],
)
def test_a_key_or_an_address_alone_ends_the_demo(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    settings = load_settings(None)
    assert not settings.demo
    assert settings.model == "gpt-4o-mini"


def test_a_model_alone_does_not_end_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMW_MODEL", "some-model")
    assert load_settings(None).demo


def test_a_space_is_reached_from_outside_through_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "someone/chat")
    settings = load_settings(None)
    assert settings.host == "0.0.0.0"
    assert settings.trust_proxy == "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10"
    assert settings.frame_ancestors == "'self' https://huggingface.co https://*.hf.space"


def test_what_is_set_wins_over_the_defaults_of_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "someone/chat")
    monkeypatch.setenv("CMW_HOST", "::1")
    monkeypatch.setenv("CMW_FRAME_ANCESTORS", "none")
    settings = load_settings(None)
    assert (settings.host, settings.frame_ancestors) == ("::1", "'none'")


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("OPENAI_BASE_URL", " https://example.com/v1/ ", "https://example.com/v1"),
        ("CMW_TRUST_PROXY", "10.0.0.7, 10.1.2.3/16,::1", "10.0.0.7,10.1.0.0/16,::1"),
        ("CMW_TRUST_PROXY", " 1 ", "1"),
        ("CMW_TRUST_PROXY", "0", ""),
        (
            "CMW_ALLOWED_HOSTS",
            "Chat.Example.com, *.b.example,::1",
            frozenset({"chat.example.com", "*.b.example", "::1"}),
        ),
        ("CMW_FRAME_ANCESTORS", "self,https://*.example.com:*", "'self' https://*.example.com:*"),
        ("CMW_FRAME_ANCESTORS", "'self' https://a.example", "'self' https://a.example"),
        ("CMW_LOG_LEVEL", "debug", "DEBUG"),
        ("CMW_STREAM_USAGE", "no", False),
        ("CMW_HOST", "localhost", "localhost"),
        ("CMW_DATA_DIR", "~/chat", Path.home() / "chat"),
        ("CMW_MODEL_TIMEOUT", "0.5", 0.5),
        (
            "CMW_ALLOWED_ORIGINS",
            "HTTPS://Example.com:443/, http://[::1]:8080,",
            frozenset({"https://example.com", "http://[::1]:8080"}),
        ),
    ],
)
def test_a_value_is_kept_in_one_form(
    name: str, value: str, kept: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    field = name.removeprefix("CMW_").lower()
    assert getattr(load_settings(None), field) == kept


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("sqlite:///chat.db", "sqlite+aiosqlite:///chat.db"),
        ("sqlite+aiosqlite:////srv/chat.db", "sqlite+aiosqlite:////srv/chat.db"),
        ("postgres://u:p@host/chat", "postgresql+asyncpg://u:p@host/chat"),
        ("postgresql://u:p@[::1]:5433/chat", "postgresql+asyncpg://u:p@[::1]:5433/chat"),
        ("postgresql+asyncpg://host/chat?ssl=on", "postgresql+asyncpg://host/chat?ssl=on"),
    ],
)
def test_a_database_url_gets_its_asynchronous_driver(
    value: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMW_DATABASE_URL", value)
    assert load_settings(None).database_url.get_secret_value() == kept


def test_the_database_lies_in_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMW_DATA_DIR", str(tmp_path))
    url = load_settings(None).database_url.get_secret_value()
    assert url == f"sqlite+aiosqlite:///{tmp_path.as_posix()}/chat.db"


def test_secret_keys_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMW_SECRET_KEY", "new-key-of-length-25-chars, old-key-of-length-25-chars")
    kept = load_settings(None).secret_key
    assert kept == SecretStr("new-key-of-length-25-chars,old-key-of-length-25-chars")


def test_no_secret_shows_in_repr_text_or_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"sk-{CANARY}")
    monkeypatch.setenv("CMW_SECRET_KEY", f"a-long-key-{CANARY}")
    monkeypatch.setenv("CMW_DATABASE_URL", f"postgresql://u:{CANARY}@host/chat")
    settings = load_settings(None)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert CANARY not in shown
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == f"sk-{CANARY}"


def test_no_wrong_secret_shows_in_the_error_or_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{CANARY} {CANARY}")
    monkeypatch.setenv("CMW_SECRET_KEY", CANARY[:12])
    monkeypatch.setenv("CMW_DATABASE_URL", f"postgresql://u:{CANARY}@host:{CANARY}/chat")
    with pytest.raises(SettingsError) as caught:
        load_settings(None)
    text = "".join(traceback.format_exception(caught.value))
    assert text.count(" must be ") == 3
    assert CANARY[:12] not in text
    # Error reporters print a cause with the values that it holds.
    assert caught.value.__cause__ is None


def test_no_value_shows_in_pydantics_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMW_SECRET_KEY", CANARY[:12])
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert CANARY[:12] not in str(caught.value)


def test_settings_do_not_change() -> None:
    settings = load_settings(None)
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


def test_a_field_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"prot": 1})


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "CMW_PORT=1111\nCMW_MAX_TURNS=7\n")
    monkeypatch.setenv("CMW_PORT", "2222")
    settings = load_settings(path)
    assert (settings.port, settings.max_turns) == (2222, 7)


def test_a_wrong_value_in_the_file_is_named_like_one_in_the_environment(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, "CMW_PORT=x\n")).startswith("CMW_PORT must be ")


def test_an_empty_value_is_no_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMW_PORT", "")
    settings = load_settings(written(tmp_path, "OPENAI_API_KEY=\nCMW_MAX_TURNS=\n"))
    assert settings.demo
    assert (settings.port, settings.max_turns) == (7860, 500)


def test_the_file_may_be_absent(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "absent").demo


def test_the_file_may_come_from_a_windows_editor(tmp_path: Path) -> None:
    path = tmp_path / "settings.env"
    path.write_bytes(b"\xef\xbb\xbfCMW_PORT=1234\r\nCMW_MODEL='a b'\r\n")
    settings = load_settings(path)
    assert (settings.port, settings.model) == (1234, "a b")


def test_foreign_variables_in_the_file_are_nobodys_business(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, "port=1\nhost=x\nmodel=y\nOTHER=z\n"))
    assert (settings.port, settings.host, settings.model) == (7860, "127.0.0.1", "demo")
    assert settings.unknown == ()


def test_a_line_that_sets_nothing_is_named_by_its_number_alone(tmp_path: Path) -> None:
    text = f'# fine\n\nCMW_PORT=1\n{CANARY} sk-{CANARY}\nCMW_MODEL\nCMW_HOST="{CANARY}\n'
    lines = refusal(written(tmp_path, text)).splitlines()
    assert [line.split(" line ")[1].split()[0] for line in lines] == ["4", "5", "6"]
    assert CANARY not in "".join(lines)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_permission_is_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, "CMW_PORT=1\n")
    path.chmod(0)
    with as_nobody():
        line = refusal(path)
    assert line == f"{path} cannot be read: Permission denied"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("folder", "Is a directory"),
        ("utf-16", "it must be UTF-8 text"),
        ("dangling link", "its link leads nowhere"),
        ("looping link", "Too many levels of symbolic links"),
    ],
)
def test_an_unreadable_file_is_one_line(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "settings.env"
    match kind:
        case "folder":
            path.mkdir()
        case "utf-16":
            path.write_text("CMW_PORT=1", encoding="utf-16")
        case "dangling link":
            path.symlink_to(tmp_path / "absent")
        case _:
            path.symlink_to(path)
    assert refusal(path) == f"{path} cannot be read: {reason}"


def test_an_unknown_name_is_told_with_the_nearest_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMW_PROT", "1")
    monkeypatch.setenv("CMW_OPENAI_API_KEY", "sk-1")
    settings = load_settings(written(tmp_path, "cmw_model=x\nCMW_QQQQQQQQQQQQ=1\n"))
    assert settings.unknown == (
        "CMW_OPENAI_API_KEY is not a setting; did you mean OPENAI_API_KEY?",
        "CMW_PROT is not a setting; did you mean CMW_PORT?",
        "CMW_QQQQQQQQQQQQ is not a setting",
        "cmw_model is not a setting; did you mean CMW_MODEL?",
    )
    assert settings.demo
    assert settings.model == "demo"


def test_a_field_given_directly_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMW_PORT", "2222")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://other.example")
    settings = Settings(port=0, openai_base_url="http://127.0.0.1:1/v1/")
    assert (settings.port, settings.openai_base_url) == (0, "http://127.0.0.1:1/v1")


def test_the_readme_lists_the_settings_of_today() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert docs.with_table(readme) == readme, "run `make docs`"


def test_the_example_file_lists_the_settings_of_today() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert docs.env_example() == example, "run `make docs`"


def test_the_example_file_states_the_defaults(tmp_path: Path) -> None:
    text = docs.env_example()
    bare = "\n".join(line[1:] for line in text.splitlines() if line.startswith(("#C", "#O")))
    assert bare.count("\n") + 1 == len(docs.documented())
    read = load_settings(written(tmp_path, bare))
    assert read.model_dump() == load_settings(None).model_dump()


@pytest.mark.parametrize(
    "readme",
    [
        "no markers",
        docs.BEGIN,
        docs.END + docs.BEGIN,
        2 * (docs.BEGIN + docs.END),
    ],
)
def test_a_readme_without_its_markers_is_refused(readme: str) -> None:
    with pytest.raises(ValueError, match=r"README\.md needs"):
        docs.with_table(readme)


def test_the_table_is_written_between_the_markers_alone(tmp_path: Path) -> None:
    before, after = "# Title\n\n", "\n\nmore\n"
    readme = tmp_path / "README.md"
    marked = f"{before}{docs.BEGIN}\nold row\n{docs.END}{after}"
    readme.write_text(marked, encoding="utf-8")
    docs.write(tmp_path)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(before)
    assert text.endswith(after)
    assert "old row" not in text
    assert "| `CMW_PORT` |" in text
    assert (tmp_path / ".env.example").read_text(encoding="utf-8") == docs.env_example()
