"""Opens what records turns."""

import sys

from cmw_agent.config.settings import Settings, variable
from cmw_agent.config.settings_digest import settings_digest
from cmw_agent.core.code_digests import code_digest
from cmw_agent.core.errors import StartupError
from cmw_agent.core.logs import get_logger
from cmw_agent.recording.cassette_file import make_folder
from cmw_agent.recording.recorder import Recorder, git_hash

log = get_logger(__name__)

NAMED = (
    "stream_usage",
    "max_model_calls",
    "max_tool_calls",
    "history_tokens",
)  # a replay needs them


def open_recorder(settings: Settings) -> Recorder | None:
    """Return what records turns; None where the settings have none recorded. Reads files.

    Raises:
        StartupError: The folder cannot be made.
    """
    if settings.record is None:
        return None
    try:
        make_folder(settings.record)
    except OSError as error:
        raise StartupError(
            f"{variable('record')} must be a folder that this app may write to ({error.strerror})"
        ) from error
    log.warning("turns are recorded with their texts", folder=str(settings.record))
    facts = {
        "code": code_digest(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "agents_file": git_hash(settings.agents_file),
        "settings_sha256": settings_digest(settings),
        "settings": {name: getattr(settings, name) for name in NAMED},
    }
    return Recorder(
        settings.record, max_bytes=settings.record_bytes, redact=settings.record_redact, facts=facts
    )
