"""Reads bodies of requests: each within a size and a time, and all together within a size."""

import asyncio
from contextlib import suppress

from service.api.refusals import Kind, Refusal
from service.serving import Receive


class Gone(Exception):  # noqa: N818 - nothing is wrong, nobody is left
    """The client has left before it was answered."""


class SlowBody(Refusal):
    """The body did not come in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            Kind.TIME_IS_UP,
            f"the body was not there within {seconds:g} s",
            "send it faster, or less",
        )


class Heard:
    """What comes of one request, and whether all of it has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def part(self) -> bytes:
        """The next part of the body.

        Raises:
            Gone: The client has left.
        """
        part = await self._receive()
        if part["type"] == "http.disconnect":
            raise Gone
        self.ended = not part.get("more_body", False)
        return part.get("body", b"")  # type: ignore[no-any-return]

    async def left(self) -> None:
        """Wait until the client has left; for when all has come."""
        with suppress(Gone):
            while True:
                await self.part()

    async def discard(self, most_bytes: int, seconds: float) -> None:
        """Let the rest pass, as far as it is small: who sends before it listens hears the answer then.

        Raises:
            Gone: The client has left.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.ended and most_bytes > 0:
                    most_bytes -= len(await self.part())


class Bodies:
    """Reads bodies.

    Args:
        most_bytes: How large one may be.
        all_bytes: How large all may be that are held at one time.
        seconds: How long one may take to come.
    """

    def __init__(self, most_bytes: int, all_bytes: int, seconds: float) -> None:
        self.most_bytes = most_bytes
        self._all = all_bytes
        self._seconds = seconds
        self._held = 0

    async def read(self, announced: str, heard: Heard) -> bytes:
        """The body of a request; `announced` is its `Content-Length`, which is not relied on.

        Raises:
            Refusal: It is too large or too slow, or there is no room for it.
            Gone: The client has left.
        """
        if announced.isdecimal() and int(announced[:20]) > self.most_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                while not heard.ended:
                    self._take(body, await heard.part())
        except TimeoutError as error:
            raise SlowBody(self._seconds) from error
        finally:
            self._held -= len(body)
        return bytes(body)

    def _take(self, body: bytearray, part: bytes) -> None:
        if len(body) + len(part) > self.most_bytes:
            raise self._too_large()
        if self._held + len(part) > self._all:
            raise Refusal(Kind.BUSY, "too many bodies come at once", "call again in a second")
        body += part
        self._held += len(part)

    def _too_large(self) -> Refusal:
        return Refusal(
            Kind.TOO_LARGE,
            f"the body is larger than {self.most_bytes} bytes",
            "send less, or where to find it",
        )
