"""Loads the secret keys that sign cookies and tokens, or creates one in the data folder."""

import os
import secrets
from pathlib import Path

from cmw_agent.core.errors import StartupError
from cmw_agent.identity.principals import KEY_FILE


def load_keys(configured: str | None, data_dir: Path) -> tuple[str, ...]:
    """Return the configured secret keys, or the one stored in `data_dir`.

    Args:
        configured: Comma-separated keys, the signing one first, or None.
        data_dir: Folder in which a key is created once, readable by its owner alone (0600).

    Raises:
        StartupError: A configured key is shorter than 16 characters, or the key
            file cannot be read or created.
    """
    if configured is not None:
        keys = tuple(part.strip() for part in configured.split(",") if part.strip())
        if not keys or any(len(key) < 16 for key in keys):
            raise StartupError("CMW_SECRET_KEY: each key must have at least 16 characters")
        return keys
    path = data_dir / KEY_FILE
    try:
        return (read_or_create(path),)
    except (OSError, UnicodeError) as error:
        raise StartupError(
            f"CMW_DATA_DIR: the secret key in {KEY_FILE} cannot be read or made "
            f"({type(error).__name__})"
        ) from error


def read_or_create(path: Path) -> str:
    """Return the key in a file, which is made once, readable by its owner alone. Raises OSError."""
    # The file gets its name only when it is complete, and the first process to name it wins, so
    # that two processes that start at once use one key.
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        except OSError:  # file systems without hard links
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    key = path.read_text().strip()
    if len(key) < 16:
        raise OSError("the key file is empty")
    return key
