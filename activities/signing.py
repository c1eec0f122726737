"""Signatures: what we said ourselves is known from what others say in our name."""

import base64
import hmac
from collections.abc import Sequence

_SIGNATURE_BYTES = 16
"""Half of SHA-256, the least that RFC 2104 recommends; correlations travel in headers, so short is good."""


class NotOurs(ValueError):  # noqa: N818 - of what others say, not a fault of ours
    """Others say it in our name; the text says why it is not ours, without what was said."""


class Signer:
    """Signs, and tells its own signatures from all others.

    Args:
        secrets: The first signs; all of them are accepted, so that a secret can be changed while what was
            signed with the one before is still on its way.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        if not all(secrets) or not secrets:
            raise ValueError("to sign takes a secret")
        self._secrets = [secret.encode() for secret in secrets]

    def signature(self, said: str) -> str:
        """The signature of `said`, in letters, digits, `_` and `-`.

        `said` begins with what it is for: a signature of one purpose is good for no other.
        """
        return _signature(self._secrets[0], said)

    def signed(self, said: str, signature: str) -> bool:
        """Whether `signature` is one of ours, of `said`."""
        given = signature.encode(errors="replace")
        return any(hmac.compare_digest(_signature(one, said).encode(), given) for one in self._secrets)


def urlsafe(raw: bytes) -> str:
    """Base64 in letters, digits, `_` and `-`, without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signature(secret: bytes, said: str) -> str:
    return urlsafe(hmac.digest(secret, said.encode(), "sha256")[:_SIGNATURE_BYTES])
