"""The certificate itself: its content, its signature, and how it is read again."""

import base64
import hmac
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal, Self

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, ValidationError

from cmw_agent.core.errors import StartupError

MAX_BYTES = 100_000


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Checks(_Part):
    """How many of some checks were made, and how many held."""

    made: int
    held: int

    @property
    def hold(self) -> bool:
        """Whether some were made and all held."""
        return self.made == self.held > 0


class Storm(_Part):
    """What a storm of the deployment's own code came to.

    Attributes:
        outcome: The verdict: clean, a leak, or why there is none.
        users: How many people wrote.
        requests: How many requests they sent.
        bytes_read: How many bytes were delivered to them and read.
        controls: The planted faults, and how many of them were found.
    """

    outcome: str
    users: int
    requests: int
    bytes_read: int
    controls: Checks


class Certificate(_Part):
    """What was proved, of what, and when.

    Attributes:
        form: The version of this form.
        version: The app's.
        made_at: When it was proved, in UTC.
        code: SHA-256 of the app's own code.
        packages: SHA-256 of the names and versions of the installed packages.
        settings: SHA-256 of the settings without secrets.
        invariants: The tests of isolation.
        storm: The storm.
        mutants: Conditions on the owner that were taken out, and how many of them a test missed.
        mutants_of: How many such conditions there are.
        public_key: The key that verifies the signature, in base64.
        signature: Ed25519 over all of the rest, in base64.
    """

    form: Literal[1] = 1
    version: str
    made_at: datetime
    code: str
    packages: str
    settings: str
    invariants: Checks
    storm: Storm
    mutants: Checks
    mutants_of: int
    public_key: str = ""
    signature: str = ""

    @property
    def holds(self) -> bool:
        """Whether everything that was tried held."""
        is_clean = self.storm.outcome == "clean" and self.storm.controls.hold
        return self.invariants.hold and is_clean and self.mutants.hold

    def signed(self, secret: str) -> Self:
        """Return the certificate with a signature by a key that is derived from `secret`."""
        key = Ed25519PrivateKey.from_private_bytes(
            hmac.digest(secret.encode(), b"cmw.certificate", sha256)
        )
        public = _base64(key.public_key().public_bytes_raw())
        content = self.model_copy(update={"public_key": public, "signature": ""})
        return content.model_copy(update={"signature": _base64(key.sign(_content(content)))})

    def json_bytes(self) -> bytes:
        """Return the certificate as JSON."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the certificate of a file. Blocks while it is read.

        Raises:
            StartupError: It cannot be read, is none, or has been changed since it was signed.
        """
        try:
            with path.open("rb") as file:
                found = cls.model_validate_json(file.read(MAX_BYTES))
        except OSError as error:
            raise StartupError(f"{path} cannot be read ({error.strerror})") from error
        except ValidationError as error:
            raise StartupError(f"{path} is no certificate of this version") from error
        try:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(found.public_key))
            content = _content(found.model_copy(update={"signature": ""}))
            key.verify(base64.b64decode(found.signature), content)
        except (InvalidSignature, ValueError) as error:
            raise StartupError(f"{path} was changed after it had been signed") from error
        return found


def _content(certificate: Certificate) -> bytes:
    return orjson.dumps(certificate.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
