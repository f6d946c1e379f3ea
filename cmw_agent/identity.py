"""Who asks: principals, the signed tokens that prove them, and session keys.

Nothing here keeps state, so every replica that shares the secret key gives the same
answer. See ``docs/adr/0001-session-hash-is-bound-to-a-principal.md``.
"""

import hmac
import os
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Self

from itsdangerous import BadSignature, TimestampSigner

from cmw_agent.errors import MalformedSession, MissingSession, StartupError

VISITOR_ID = re.compile(r"v[0-9a-f]{32}")
CLIENT_HASH = re.compile(r"[A-Za-z0-9_-]{1,128}")
SESSION_KEY = re.compile(r"[0-9a-f]{64}")
TOKEN_SECONDS = 400 * 86_400  # browsers keep no cookie longer than 400 days (RFC 6265bis)
RENEW_SECONDS = 7 * 86_400
KEY_FILE = "secret.key"

Kind = Literal["visitor", "ephemeral"]


@dataclass(frozen=True, slots=True)
class Principal:
    """One party that nothing of another party may reach.

    `id` is opaque, is made by the server alone and owns rows in the database.
    An ``ephemeral`` principal proves nothing but the hash it sends; nothing of it
    is kept.
    """

    id: str
    kind: Kind

    @property
    def is_kept(self) -> bool:
        """Whether conversations of this principal outlive its session."""
        return self.kind != "ephemeral"

    @property
    def log_name(self) -> str:
        """A short one-way name for logs, which gives nobody access to anything."""
        return sha256(self.id.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session's key: HMAC-SHA-256 over principal and Gradio's hash, in hex.

    There is no default value: it comes from a request or not at all.
    """

    value: str

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the key in `raw`.

        Raises:
            MissingSession: `raw` is None or empty.
            MalformedSession: `raw` is not 64 lower-case hex digits.
        """
        if raw is None or raw == "":
            raise MissingSession
        if not isinstance(raw, str) or not SESSION_KEY.fullmatch(raw):
            raise MalformedSession
        return cls(raw)


class Identities:
    """Signs and verifies visitor tokens and derives session keys.

    Args:
        keys: Secret keys; the first signs, all verify. Never empty.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        if not keys or not all(keys):
            raise ValueError("at least one secret key is needed")
        # itsdangerous takes the signing key last.
        ordered = list(reversed(keys))
        self._signers = {
            medium: TimestampSigner(
                ordered, salt=f"cmw.visitor.{medium}", digest_method=sha256, key_derivation="hmac"
            )
            for medium in ("cookie", "header")
        }
        self._current = {
            medium: TimestampSigner(
                keys[0], salt=f"cmw.visitor.{medium}", digest_method=sha256, key_derivation="hmac"
            )
            for medium in ("cookie", "header")
        }
        self._session_secret = _derive(keys[0], b"cmw.session")
        self._ephemeral_secret = _derive(keys[0], b"cmw.ephemeral")

    def new_visitor(self) -> Principal:
        """Return a visitor that nobody has ever been before."""
        return Principal("v" + secrets.token_hex(16), "visitor")

    def sign(self, visitor: Principal, medium: Literal["cookie", "header"]) -> str:
        """Return the token that proves `visitor` when it comes back by `medium`."""
        if visitor.kind != "visitor":
            raise ValueError("only visitors carry tokens")
        return self._signers[medium].sign(visitor.id).decode()

    def verify(self, token: str, medium: Literal["cookie", "header"]) -> Principal | None:
        """Return the visitor whom `token` proves, or None when it proves nobody."""
        try:
            visitor = self._signers[medium].unsign(token, max_age=TOKEN_SECONDS).decode()
        except (BadSignature, UnicodeError):
            return None
        return Principal(visitor, "visitor") if VISITOR_ID.fullmatch(visitor) else None

    def needs_renewal(self, token: str, medium: Literal["cookie", "header"]) -> bool:
        """Whether a valid `token` is over a week old or signed by a retired key."""
        try:
            self._current[medium].unsign(token, max_age=RENEW_SECONDS)
        except BadSignature:
            return True
        return False

    def ephemeral(self, client_hash: str, peer: str) -> Principal:
        """Return the principal of a caller that proves nothing.

        It is derived from the hash it sends and the address it sends from, so
        that it can follow its own stream without a cookie, while two callers
        with one hash stay apart unless they share an address too.
        """
        digest = _hmac(self._ephemeral_secret, f"{peer}\0{client_hash}")
        return Principal("e" + digest[:32], "ephemeral")

    def session_key(self, principal: Principal, client_hash: str) -> SessionKey:
        """Return HMAC(key, principal ‖ hash): what Gradio sees as its session hash."""
        return SessionKey(_hmac(self._session_secret, f"{principal.id}\0{client_hash}"))


def _hmac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), sha256).hexdigest()


def _derive(key: str, purpose: bytes) -> bytes:
    return hmac.new(key.encode(), purpose, sha256).digest()


def load_keys(configured: str | None, data_dir: Path) -> tuple[str, ...]:
    """Return the secret keys: those configured, or the one kept in `data_dir`.

    Args:
        configured: Comma-separated keys, the signing one first, or None.
        data_dir: Where a key is made once, readable by its owner alone (0600).

    Raises:
        StartupError: A configured key is shorter than 16 characters, or the key
            file cannot be read or made.
    """
    if configured is not None:
        keys = tuple(part.strip() for part in configured.split(",") if part.strip())
        if not keys or any(len(key) < 16 for key in keys):
            raise StartupError("CMW_SECRET_KEY: each key must have at least 16 characters")
        return keys
    path = data_dir / KEY_FILE
    try:
        return (_read_or_make(path),)
    except (OSError, UnicodeError) as error:
        raise StartupError(
            f"CMW_DATA_DIR: the secret key in {KEY_FILE} cannot be read or made "
            f"({type(error).__name__})"
        ) from error


def _read_or_make(path: Path) -> str:
    # The key appears under its name only when whole, and the first maker wins, so
    # that two processes starting at once end up with one key.
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
