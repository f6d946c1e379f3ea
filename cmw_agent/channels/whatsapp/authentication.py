"""Authentication of deliveries: how a bridge or Meta proves that a request is its own.

Each way knows several secrets, so that one can be changed, and compares in constant time. What can
be seen before the body has come is checked before it is read.
"""

import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from starlette.datastructures import Headers

META_HEADER, META_PREFIX = "x-hub-signature-256", "sha256="
BEARER = re.compile(r"(?i)bearer +(\S+)")


class Authentication(Protocol):
    """Recognises a sender's requests.

    `path_token` is what stands behind ``/whatsapp/incoming/``, empty where there is nothing.
    """

    def may_read(self, headers: Headers, path_token: str) -> bool:
        """Whether the body of a request is to be read at all."""

    def verify(self, body: bytes, headers: Headers, path_token: str) -> bool:
        """Whether a request comes from who knows a secret."""


class BodySignature:
    """A header that holds an HMAC of the very bytes of the body, in hex.

    Args:
        secrets: The keys; with none, nothing is verified.
        header: The header's name; it must come once.
        prefix: What stands before the hex.
        algorithm: ``sha256`` or ``sha512``.
        algorithm_header: A header that must name the algorithm where it is sent.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        header: str = META_HEADER,
        prefix: str = META_PREFIX,
        algorithm: str = "sha256",
        algorithm_header: str = "",
    ) -> None:
        self._keys = [secret.encode() for secret in secrets]
        self._header = header
        self._prefix = prefix
        self._algorithm = algorithm
        self._algorithm_header = algorithm_header
        length = {"sha256": 64, "sha512": 128}[algorithm]
        self._form = re.compile(f"{re.escape(prefix)}[0-9a-f]{{{length}}}")

    def sign(self, body: bytes) -> str:
        """Return the header's value for a body, by the first key."""
        return self._signed(self._keys[0], body)

    def may_read(self, headers: Headers, path_token: str) -> bool:
        """Whether there is one signature, of the right form."""
        sent = headers.getlist(self._header)
        return len(sent) == 1 and self._form.fullmatch(sent[0]) is not None

    def verify(self, body: bytes, headers: Headers, path_token: str) -> bool:
        """Whether the body is signed with one of the keys."""
        if self._algorithm_header:
            named = headers.get(self._algorithm_header, self._algorithm)
            if named.lower() != self._algorithm:
                return False
        sent = headers.getlist(self._header)
        return len(sent) == 1 and _is_one_of(
            sent[0], (self._signed(key, body) for key in self._keys)
        )

    def _signed(self, key: bytes, body: bytes) -> str:
        return self._prefix + hmac.new(key, body, self._algorithm).hexdigest()


class SharedSecret:
    """A secret that comes with each request: in a header, or in the path.

    Args:
        secrets: The secrets; with none, nothing is verified.
        headers: Names of the headers, each alone or behind ``Bearer``.
        in_path: Whether the path may hold it.
        has_tokens: Whether ``Authorization: Bearer`` may be a JSON Web Token signed with a secret.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        headers: Sequence[str] = (),
        in_path: bool = False,
        has_tokens: bool = False,
    ) -> None:
        self._secrets = secrets
        self._headers = headers
        self._in_path = in_path
        self._has_tokens = has_tokens

    def may_read(self, headers: Headers, path_token: str) -> bool:
        """Whether the request holds a secret: nothing of it depends on the body."""
        found = [path_token] if self._in_path and path_token else []
        for name in self._headers:
            for value in headers.getlist(name):
                match = BEARER.fullmatch(value)
                found.append(match[1] if match else value)
        is_known = False
        for value in found:
            is_known |= _is_one_of(value, self._secrets)
            is_known |= self._has_tokens and self._is_token(value)
        return is_known

    def verify(self, body: bytes, headers: Headers, path_token: str) -> bool:
        """Whether the request holds a secret."""
        return self.may_read(headers, path_token)

    def _is_token(self, value: str) -> bool:
        if value.count(".") != 2 or len(value) > 2000:
            return False
        # Where no bridge sends tokens the library is not loaded.
        from joserfc import jwt  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import OctKey  # noqa: PLC0415

        for secret in self._secrets:
            try:
                token = jwt.decode(value, OctKey.import_key(secret), algorithms=["HS256"])
                jwt.JWTClaimsRegistry(exp={"essential": True}).validate(token.claims)
            except (JoseError, ValueError):
                continue
            return True
        return False


class AnyOf:
    """Several ways of which each alone suffices.

    Args:
        ways: The ways.
    """

    def __init__(self, *ways: Authentication) -> None:
        self._ways = ways

    def may_read(self, headers: Headers, path_token: str) -> bool:
        """Whether one of the ways would read the body."""
        return any(way.may_read(headers, path_token) for way in self._ways)

    def verify(self, body: bytes, headers: Headers, path_token: str) -> bool:
        """Whether one of the ways recognises the request."""
        return any(way.verify(body, headers, path_token) for way in self._ways)


def _is_one_of(value: str, wanted: Iterable[str]) -> bool:
    sent, is_known = value.encode("utf-8", "surrogateescape"), False
    for item in wanted:  # no early end: its time would show which secret matched
        is_known |= hmac.compare_digest(item.encode(), sent)
    return is_known
