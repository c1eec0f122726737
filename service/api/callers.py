"""Who calls: what a skin asks before it lets anybody in."""

from typing import Protocol

from service.errors import TurnoutError


class Caller(Protocol):
    """Someone who may call; idempotency keys of one are nothing to another."""

    @property
    def name(self) -> str:
        """As the log may name them."""
        ...

    @property
    def identity(self) -> str:
        """What tells them from all others."""
        ...


class NotAllowed(TurnoutError):  # noqa: N818 - a verdict, not a fault
    """This caller is not let in; its text is for the caller."""

    unavailable = False
    challenge = "Bearer"


class Guard(Protocol):
    """Tells who calls."""

    async def check(self, authorization: str | None) -> Caller:
        """The caller by what stands in `Authorization`; may be asked for each call.

        Raises:
            NotAllowed: It does not say, or says it wrongly.
        """
        ...
