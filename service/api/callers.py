"""Who calls: what a skin asks before it lets anybody in."""

from dataclasses import dataclass
from typing import Protocol

from service.errors import TurnoutError


@dataclass(frozen=True, slots=True)
class Caller:
    """Someone who may call; idempotency keys of one are nothing to another."""

    name: str


ANYBODY = Caller("")
"""Everybody, where nobody has to say who they are."""


class NotAllowed(TurnoutError):  # noqa: N818 - a verdict, not a fault
    """This caller is not let in.

    Args:
        reason: Why, without any part of a token; what to do about it.
        status: 401 where it is not known who calls, 403 where that one may not.
    """

    def __init__(self, reason: str, status: int = 401) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Authority(Protocol):
    """Tells who calls."""

    async def check(self, authorization: str | None) -> Caller:
        """The caller by what stands in `Authorization`; may be asked for each call.

        Raises:
            NotAllowed: It does not say, or says it wrongly.
        """
        ...


class AnybodyMayCall:
    """Lets everybody in: for addresses that only this machine reaches."""

    async def check(self, authorization: str | None) -> Caller:
        """See `Authority.check`."""
        del authorization
        return ANYBODY
