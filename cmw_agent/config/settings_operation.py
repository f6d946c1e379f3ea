"""Settings of the running process: clean-up, capacity, logs, metrics."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import SecretStr

from cmw_agent.config import network_validators as network
from cmw_agent.config import validators as values
from cmw_agent.config.declarations import checked, count, seconds, setting
from cmw_agent.config.settings_base import SettingsBase


class OperationSettings(SettingsBase):
    """Clean-up and retention, capacity, logs, metrics, traces, draining."""

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
    shares: Annotated[Literal["off", "accounts", "link"], checked(values.lower)] = setting(
        "off",
        "Who may read a conversation that its owner shares by a link: with `off` there are no such "
        "links, with `accounts` those who have signed in, with `link` everybody who has the link.",
        "off, accounts or link",
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
    tripwire: bool = setting(
        False,
        "Whether each user's instructions hold a hidden mark, and an answer or a file is stopped that "
        "holds another user's.",
        "true or false",
    )
    certificate: Annotated[Path | None, checked(values.folder)] = setting(
        None,
        "File that `cmw-agent prove` has written; what it says of this deployment's isolation is "
        "shown at `/isolation`.",
        "a file's path on one line, without ?",
        shown="none; there is no `/isolation`",
    )
    record: Annotated[Path | None, checked(values.folder)] = setting(
        None,
        "Folder into which each turn is recorded, its texts included, to be replayed with "
        "`cmw-agent replay`; replicas share it.",
        "a folder's path on one line, without ?",
        shown="none; nothing is recorded",
    )
    record_redact: Annotated[str | None, checked(values.expression)] = setting(
        None,
        "What is replaced in recordings before they are written.",
        "a regular expression that matches no empty text",
        shown="nothing",
    )
    record_bytes: int = count(
        8_388_608,
        "Bytes of one turn's recording, about; what comes later is left out, and counted.",
        1024,
        1_073_741_824,
    )
    otlp_endpoint: Annotated[str | None, checked(network.base_url)] = setting(
        None,
        "Address of an OpenTelemetry collector (OTLP over HTTP) that gets traces of turns.",
        "an http:// or https:// address without user name, ? and #",
        shown="none; no traces",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    trace_content: bool = setting(
        False,
        "Whether traces hold what was said, of those users who agree to it in their settings.",
        "true or false",
        validation_alias="OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
    )
    left_answers: Annotated[Literal["finish", "stop"], checked(values.lower)] = setting(
        "finish",
        "What happens to an answer that no open page shows any more: `finish` lets the model write "
        "it to the end, `stop` ends it, which saves tokens.",
        "finish or stop",
    )
    drain_seconds: float = seconds(
        20, "Seconds that running answers may go on after SIGTERM before they are cut off.", 600
    )
