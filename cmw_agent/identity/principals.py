"""Principals, the signed tokens that prove them, and session keys.

Everything here is stateless, so all replicas that share the secret key give the same
results. See ``docs/adr/0001-session-hash-is-bound-to-a-principal.md`` and, for accounts,
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

from cmw_agent.core.access_names import EMAIL, GROUP, PREFIXES, SUBJECT
from cmw_agent.core.errors import MalformedSessionError, MissingSessionError

VISITOR_ID = re.compile(r"v[0-9a-f]{32}")
ACCOUNT_ID = re.compile(r"a[0-9a-f]{32}")
ACCOUNT_TOKEN = re.compile(r"(a[0-9a-f]{32}):([0-9a-f]{32}):([A-Za-z0-9_-]{0,1100})")
CLIENT_HASH = re.compile(r"[A-Za-z0-9_-]{1,128}")
SESSION_KEY = re.compile(r"[0-9a-f]{64}")
TOKEN_SECONDS = 400 * 86_400  # the longest lifetime of a cookie (RFC 6265bis)
ACCOUNT_SECONDS = 30 * 86_400  # from the last renewal
RENEW_SECONDS = 7 * 86_400
NAME_CHARS = 200
MAX_GROUPS = 500
KEY_FILE = "secret.key"

PrincipalKind = Literal[
    "visitor", "account", "ephemeral", "client", "widget", "phone", "party", "share"
]
Medium = Literal["cookie", "header"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The actor of a request, whose data no other principal can reach.

    Two principals are equal if `id` and `kind` are equal.

    Attributes:
        id: Opaque id, made by the server; the owner of rows in the database.
        kind: ``visitor``: proved by a signed cookie or token. ``account``: signed in.
            ``ephemeral``: proves nothing but the hash it sends, and nothing of it is stored.
            ``client``: a session of an API key. ``widget``: a visitor of another website.
            ``phone``: a sender on WhatsApp. ``share``: whoever has a share's link; it reads one
            snapshot and has no conversations. For the last four see
            `cmw_agent.identity.channel_principals`.
        login: Id of the sign-in that proves an account.
        name: The account's user name as the provider gave it at sign-in; shown to its user.
        names: What lists of users may call the account, by its sign-in; see
            `cmw_agent.core.access_names`. They are stored with the login, not in the cookie.
    """

    id: str
    kind: PrincipalKind
    login: str | None = field(default=None, compare=False)
    name: str | None = field(default=None, compare=False)
    names: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def is_stored(self) -> bool:
        """Whether conversations of this principal are stored beyond its session."""
        return self.kind != "ephemeral"

    @property
    def may_schedule(self) -> bool:
        """Whether it may have recurring tasks; not a widget's visitor, who may never return."""
        return self.is_stored and self.kind not in ("widget", "share")

    @property
    def log_name(self) -> str:
        """A short digest of `id` for logs and traces, which grants no access.

        It depends on no key, so it hides no more than `id` does: a visitor's is random; an
        account's or a client's can be computed by whoever guesses its subject or session; a
        phone's by whoever tries all numbers.
        """
        return sha256(self.id.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Key of a live session: HMAC-SHA-256 over principal and Gradio's session hash, in hex.

    There is no default value: a key comes from a request or not at all.
    """

    value: str

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Return the key in `raw`, a value from a request.

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
        keys: Secret keys; the first signs, all verify.

    Raises:
        ValueError: There is no key, or one is empty.
    """

    def __init__(self, keys: tuple[str, ...]) -> None:
        if not keys or not all(keys):
            raise ValueError("at least one secret key is needed")
        # itsdangerous expects the signing key last.
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
        """Return a signer for one purpose, which rejects texts signed for another purpose."""
        salt = f"cmw.{purpose}"
        return TimestampSigner(
            self._ordered, salt=salt, digest_method=sha256, key_derivation="hmac"
        )

    def new_visitor(self) -> Principal:
        """Return a new visitor with a random id."""
        return Principal("v" + secrets.token_hex(16), "visitor")

    def sign(self, principal: Principal, medium: Medium) -> str:
        """Return the token that proves `principal` when it is received by `medium`.

        Raises:
            ValueError: Its kind has no token, or it is an account and `medium` is not a cookie:
                scripts can read a header's token, which must not give access to an account.
        """
        if principal.kind == "visitor":
            return self._signers[medium].sign(principal.id).decode()
        if principal.kind != "account" or medium != "cookie" or principal.login is None:
            raise ValueError("only visitors carry tokens, and accounts in cookies")
        name = base64.urlsafe_b64encode((principal.name or "").encode()).decode().rstrip("=")
        return self._signers[medium].sign(f"{principal.id}:{principal.login}:{name}").decode()

    def verify(self, token: str, medium: Medium) -> Principal | None:
        """Return the principal whom `token` proves, or None.

        The token does not say whether an account's login is still valid: the guard checks that.
        """
        try:
            signed = self._signers[medium].unsign(token, max_age=TOKEN_SECONDS).decode()
            if VISITOR_ID.fullmatch(signed):
                return Principal(signed, "visitor")
            match = ACCOUNT_TOKEN.fullmatch(signed)
            if match is None or medium != "cookie":
                return None
            self._signers[medium].unsign(token, max_age=ACCOUNT_SECONDS)
            name = base64.urlsafe_b64decode(match[3] + "=" * (-len(match[3]) % 4)).decode()
        except (BadSignature, ValueError):
            return None
        return Principal(match[1], "account", login=match[2], name=name or None)

    def needs_renewal(self, token: str, medium: Medium) -> bool:
        """Return whether a valid `token` is over a week old or signed by a retired key."""
        try:
            self._current[medium].unsign(token, max_age=RENEW_SECONDS)
        except BadSignature:
            return True
        return False

    def sign_state(self, text: str) -> str:
        """Return a signed token with the state of a sign-in; it proves no principal."""
        return self._states.sign(text).decode()

    def verify_state(self, token: str, seconds: int) -> str | None:
        """Return the text of a token of `sign_state` that is at most `seconds` old, or None."""
        try:
            return self._states.unsign(token, max_age=seconds).decode()
        except (BadSignature, UnicodeError):
            return None

    def ephemeral(self, client_hash: str, peer: str) -> Principal:
        """Return the principal of a caller that proves nothing.

        It is derived from the hash that the caller sends and the address it sends from. So the
        caller can follow its own stream without a cookie, and two callers with the same hash
        differ unless they also share an address.

        Args:
            client_hash: Gradio's session hash, as the client sent it.
            peer: Network address of the client.
        """
        digest = _hmac(self._ephemeral_secret, f"{peer}\0{client_hash}")
        return Principal("e" + digest[:32], "ephemeral")

    def session_key(self, principal: Principal, client_hash: str) -> SessionKey:
        """Return HMAC(key, principal ‖ hash), which Gradio receives as its session hash."""
        return SessionKey(_hmac(self._session_secret, f"{principal.id}\0{client_hash}"))


def new_login(
    issuer: str,
    subject: str,
    name: str | None,
    groups: Sequence[str] = (),
    *,
    email: str | None = None,
    trusts_name: bool = True,
) -> Principal:
    """Return the account of an OpenID Connect user, with a new login id.

    The account's id is derived from issuer and subject and from no key, so that it survives a
    change of keys. Invalid names of the user or of groups are dropped, not truncated: a prefix
    could be the name of another. Groups beyond the first `MAX_GROUPS` are ignored.

    Args:
        issuer: The provider's issuer identifier.
        subject: The user's subject identifier at the provider.
        name: The user name, or None.
        groups: Names of the user's groups.
        email: The user's address, verified by the provider and in small letters.
        trusts_name: Whether the name says who the user is in lists of users.
    """
    valid_name = name if name is not None and _is_name(name) else None
    names = {SUBJECT + subject} | {GROUP + group for group in filter(_is_name, groups[:MAX_GROUPS])}
    # A user whose name has the form of a group's is not in that group.
    if trusts_name and valid_name is not None and not valid_name.startswith(PREFIXES):
        names.add(valid_name)
    if email is not None and _is_name(email):
        names.add(EMAIL + email)
    digest = sha256(f"cmw.account\0{issuer}\0{subject}".encode()).hexdigest()
    return Principal(
        "a" + digest[:32],
        "account",
        login=secrets.token_hex(16),
        name=valid_name or email,
        names=frozenset(names),
    )


def page_name(principal: Principal | None) -> str | None:
    """Return an opaque name under which a browser stores what it keeps for a principal.

    It depends on no key, so that it survives a change of keys, and grants no access. None for who
    has nothing that lasts: an ephemeral principal, or none.
    """
    if principal is None or not principal.is_stored:
        return None
    return sha256(f"cmw.page\0{principal.id}".encode()).hexdigest()[:32]


def first_conversation(principal: Principal, key: str) -> str:
    """Return the id of the conversation that a message with this key begins.

    Every replica derives the same id, so that the message begins one conversation, however often
    it is sent.
    """
    return sha256(f"cmw.first\0{principal.id}\0{key}".encode()).hexdigest()[:32]


def _is_name(name: str) -> bool:
    return 0 < len(name) <= NAME_CHARS and name.isprintable()


def _hmac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), sha256).hexdigest()


def _derive(key: str, purpose: bytes) -> bytes:
    return hmac.new(key.encode(), purpose, sha256).digest()
