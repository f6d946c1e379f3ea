"""Who asks: principals, the signed tokens that prove them, and session keys.

Nothing here keeps state, so every replica that shares the secret key gives the same
answer. See ``docs/adr/0001-session-hash-is-bound-to-a-principal.md`` and, for accounts,
``docs/adr/0008-accounts-by-openid-connect.md``.
"""

import base64
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal, Self

from itsdangerous import BadSignature, TimestampSigner

from cmw_agent.core.errors import MalformedSessionError, MissingSessionError

VISITOR_ID = re.compile(r"v[0-9a-f]{32}")
ACCOUNT_TOKEN = re.compile(r"(a[0-9a-f]{32}):([0-9a-f]{32}):([A-Za-z0-9_-]{0,1100})")
CLIENT_HASH = re.compile(r"[A-Za-z0-9_-]{1,128}")
SESSION_KEY = re.compile(r"[0-9a-f]{64}")
TOKEN_SECONDS = 400 * 86_400  # browsers keep no cookie longer than 400 days (RFC 6265bis)
ACCOUNT_SECONDS = 30 * 86_400  # without a visit; each renewal begins them anew
RENEW_SECONDS = 7 * 86_400
NAME_CHARS = 200
MAX_GROUPS = 500
KEY_FILE = "secret.key"

PrincipalKind = Literal["visitor", "account", "ephemeral", "client", "widget", "phone"]
Medium = Literal["cookie", "header"]


@dataclass(frozen=True, slots=True)
class Principal:
    """One party that nothing of another party may reach.

    `id` is opaque, is made by the server alone and owns rows in the database.
    An ``ephemeral`` principal proves nothing but the hash it sends; nothing of it
    is kept. An ``account`` has a `login`, the sign-in that proves it here, and the
    user `name` and `groups` that the provider gave then; none of them tells two principals apart,
    and no cookie carries groups: the memory of logins does. A ``client``
    comes through a key of the REST interface, a ``widget`` visitor by another website, a
    ``phone`` by WhatsApp: see `cmw_agent.identity.channel_principals`.
    """

    id: str
    kind: PrincipalKind
    login: str | None = field(default=None, compare=False)
    name: str | None = field(default=None, compare=False)
    groups: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def is_kept(self) -> bool:
        """Whether conversations of this principal outlive its session."""
        return self.kind != "ephemeral"

    @property
    def may_schedule(self) -> bool:
        """Whether recurring tasks may run for it: not where nobody need ever come back for them."""
        return self.is_kept and self.kind != "widget"

    @property
    def log_name(self) -> str:
        """A short name for logs and traces, which gives nobody access to anything.

        No key goes into it, so it hides no more than `id` does: a visitor's is random and cannot be
        guessed, an account's or a client's only by whoever can guess its subject or session, and
        one made of a phone number by whoever tries all numbers.
        """
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
            MissingSessionError: `raw` is None or empty.
            MalformedSessionError: `raw` is not 64 lower-case hex digits.
        """
        if raw is None or raw == "":
            raise MissingSessionError
        if not isinstance(raw, str) or not SESSION_KEY.fullmatch(raw):
            raise MalformedSessionError
        return cls(raw)


class Identities:
    """Signs and verifies the tokens of visitors and accounts, and derives session keys.

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
        self._ordered = ordered
        self._states = self.signer("login.state")
        self._session_secret = _derive(keys[0], b"cmw.session")
        self._ephemeral_secret = _derive(keys[0], b"cmw.ephemeral")

    def signer(self, purpose: str) -> TimestampSigner:
        """Return what signs texts for one purpose, and takes no text signed for another."""
        salt = f"cmw.{purpose}"
        return TimestampSigner(
            self._ordered, salt=salt, digest_method=sha256, key_derivation="hmac"
        )

    def new_visitor(self) -> Principal:
        """Return a visitor that nobody has ever been before."""
        return Principal("v" + secrets.token_hex(16), "visitor")

    def sign(self, principal: Principal, medium: Medium) -> str:
        """Return the token that proves `principal` when it comes back by `medium`.

        Raises:
            ValueError: It proves nothing by itself, or is an account and `medium` no cookie:
                what a script can read must not be worth an account.
        """
        if principal.kind == "visitor":
            return self._signers[medium].sign(principal.id).decode()
        if principal.kind != "account" or medium != "cookie" or principal.login is None:
            raise ValueError("only visitors carry tokens, and accounts in cookies")
        name = base64.urlsafe_b64encode((principal.name or "").encode()).decode().rstrip("=")
        return self._signers[medium].sign(f"{principal.id}:{principal.login}:{name}").decode()

    def verify(self, token: str, medium: Medium) -> Principal | None:
        """Return the principal whom `token` proves, or None when it proves nobody.

        Whether an account's login is still live is not in the token: the guard asks that.
        """
        try:
            signed = self._signers[medium].unsign(token, max_age=TOKEN_SECONDS).decode()
            if VISITOR_ID.fullmatch(signed):
                return Principal(signed, "visitor")
            found = ACCOUNT_TOKEN.fullmatch(signed)
            if found is None or medium != "cookie":
                return None
            self._signers[medium].unsign(token, max_age=ACCOUNT_SECONDS)
            name = base64.urlsafe_b64decode(found[3] + "=" * (-len(found[3]) % 4)).decode()
        except (BadSignature, ValueError):
            return None
        return Principal(found[1], "account", login=found[2], name=name or None)

    def needs_renewal(self, token: str, medium: Medium) -> bool:
        """Whether a valid `token` is over a week old or signed by a retired key."""
        try:
            self._current[medium].unsign(token, max_age=RENEW_SECONDS)
        except BadSignature:
            return True
        return False

    def sign_state(self, text: str) -> str:
        """Return a token for what a sign-in keeps in the browser; it proves nobody."""
        return self._states.sign(text).decode()

    def verify_state(self, token: str, seconds: int) -> str | None:
        """Return the text of a token that is at most so old, or None."""
        try:
            return self._states.unsign(token, max_age=seconds).decode()
        except (BadSignature, UnicodeError):
            return None

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


def new_login(issuer: str, subject: str, name: str | None, groups: Sequence[str] = ()) -> Principal:
    """Return the account of a provider's user, with a login that nobody had before.

    Its id rests on issuer and subject alone and on no key, so that it outlives a change
    of keys. A name that is no name, of the user or of a group, is left out rather than cut: a part
    of it could be another's. Groups beyond the first `MAX_GROUPS` do not count.
    """
    digest = sha256(f"cmw.account\0{issuer}\0{subject}".encode()).hexdigest()
    return Principal(
        "a" + digest[:32],
        "account",
        login=secrets.token_hex(16),
        name=name if name is not None and _is_name(name) else None,
        groups=frozenset(filter(_is_name, groups[:MAX_GROUPS])),
    )


def _is_name(name: str) -> bool:
    return 0 < len(name) <= NAME_CHARS and name.isprintable()


def _hmac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), sha256).hexdigest()


def _derive(key: str, purpose: bytes) -> bytes:
    return hmac.new(key.encode(), purpose, sha256).digest()
