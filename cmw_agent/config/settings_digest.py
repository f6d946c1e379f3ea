"""One hash for all settings that are no secrets."""

import hashlib
import json
from pathlib import Path

from pydantic import SecretStr

from cmw_agent.config.settings import Settings


def settings_digest(settings: Settings) -> str:
    """Return the SHA-256 of all settings that are no secrets and name no place, in hex."""
    values = {
        name: str(value)
        for name, value in settings.model_dump().items()
        if not isinstance(value, SecretStr | Path)
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
