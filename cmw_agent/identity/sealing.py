"""Seals secrets of owners for the database: nobody reads them there, and none passes for another's."""

import hashlib
import hmac
from collections.abc import Sequence

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

HEADER = {"alg": "dir", "enc": "A256GCM"}
MCP_GRANT = "mcp.grant"  # with the server's name the purpose of an MCP server's tokens


class Sealer:
    """Encrypts and decrypts with the app's secret keys.

    The key of a text is derived from its owner and purpose as well: a row that is moved to another
    owner opens no more.

    Args:
        keys: Secret keys; the first encrypts, all decrypt.

    Raises:
        ValueError: There is no key.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or not all(keys):
            raise ValueError("sealing needs secret keys")
        self._keys = tuple(keys)

    def seal(self, owner: str, purpose: str, text: str) -> str:
        """Return `text`, encrypted and authenticated.

        Raises:
            ValueError: The owner is empty.
        """
        return jwe.encrypt_compact(HEADER, text.encode(), _key(self._keys[0], owner, purpose))

    def unseal(self, owner: str, purpose: str, sealed: str) -> str | None:
        """Return the text; None where it is another's, for another purpose, or of a forgotten key.

        Raises:
            ValueError: The owner is empty.
        """
        for key in self._keys:
            try:
                found = jwe.decrypt_compact(sealed, _key(key, owner, purpose))
            except (JoseError, ValueError):
                continue
            return found.plaintext.decode() if found.plaintext is not None else None
        return None

    def moved(self, from_owner: str, owner: str, purpose: str, sealed: str) -> str | None:
        """Return what was sealed for `from_owner`, sealed for `owner`; None as `unseal`.

        Raises:
            ValueError: An owner is empty.
        """
        text = self.unseal(from_owner, purpose, sealed)
        return self.seal(owner, purpose, text) if text is not None else None


def _key(secret: str, owner: str, purpose: str) -> OctKey:
    if not owner:
        raise ValueError("a secret needs an owner")
    message = f"cmw.sealed\0{purpose}\0{owner}".encode()
    return OctKey.import_key(hmac.new(secret.encode(), message, hashlib.sha256).digest())
