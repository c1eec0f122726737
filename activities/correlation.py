"""The correlation of a call: which activity of which workflow its reply completes.

It travels as opaque text in a header of the request, which whoever answers copies into the reply. It is
signed, so that nobody else can complete what we wait for.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from activities.signing import NotOurs, Signer, urlsafe

HEADER = "correlation"
"""The header by which requests carry it, and replies should."""

VERSION = "1"


@dataclass(frozen=True, slots=True)
class Correlation:
    """An activity that waits, of a workflow in a namespace."""

    namespace: str
    workflow_id: str
    activity_id: str

    @classmethod
    def read(cls, text: str) -> "Correlation":
        """What `text` says, whoever wrote it.

        Raises:
            NotOurs: It says nothing.
        """
        return _parts(text)[0]


class Seal:
    """Signs correlations and sees that others are signed.

    Args:
        secrets: The first signs; all of them are accepted, so that a secret can be changed while calls wait.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signer = Signer(secrets)

    def sealed(self, correlation: Correlation) -> str:
        """`correlation` as text of letters, digits, `.`, `_` and `-`."""
        content = urlsafe(json.dumps(astuple(correlation), ensure_ascii=False).encode())
        return f"{VERSION}.{content}.{self._signer.signature(_said(content))}"

    def opened(self, text: str) -> Correlation:
        """What `text` says.

        Raises:
            NotOurs: We did not sign it.
        """
        correlation, content, signature = _parts(text)
        if not self._signer.signed(_said(content), signature):
            raise NotOurs("it is not signed by us")
        return correlation


def _parts(text: str) -> tuple[Correlation, str, str]:
    version, _, rest = text.partition(".")
    content, _, signature = rest.partition(".")
    if version != VERSION:
        raise NotOurs("it is no correlation of ours")
    try:
        parts = json.loads(_decoded(content))
        json.dumps(parts, ensure_ascii=False).encode()  # a lone surrogate is in no id: nobody could name it
    except (ValueError, RecursionError):
        raise NotOurs("it is no correlation of ours") from None
    if not (isinstance(parts, list) and len(parts) == 3 and all(isinstance(p, str) and p for p in parts)):
        raise NotOurs("it is no correlation of ours")
    return Correlation(*parts), content, signature


def _said(content: str) -> str:
    return f"turnout {VERSION} {content}"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
