"""Whether a request was signed by the bridge or by Meta, over the very bytes that came.

The header is ``X-Hub-Signature-256: sha256=<hex>``, an HMAC-SHA-256 of the raw body
(https://developers.facebook.com/docs/graph-api/webhooks/getting-started#event-notifications).
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256

HEADER = "x-hub-signature-256"
PREFIX = "sha256="


class Signatures:
    """Verifies signatures of any of several keys, so that a key can be changed.

    Args:
        keys: The keys; with none, nothing is verified.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def sign(self, body: bytes) -> str:
        """Return the header's value for a body, by the first key."""
        return PREFIX + hmac.new(self._keys[0], body, sha256).hexdigest()

    def verify(self, body: bytes, headers: Sequence[str]) -> bool:
        """Whether a request with these headers of that name, which must be one, is signed."""
        sent = headers[0].encode("utf-8", "surrogateescape") if len(headers) == 1 else b""
        is_signed = False
        for key in self._keys:  # all of them: the time tells nothing of which it is
            wanted = PREFIX + hmac.new(key, body, sha256).hexdigest()
            is_signed |= hmac.compare_digest(wanted.encode(), sent)
        return is_signed
