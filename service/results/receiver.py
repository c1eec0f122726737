"""Receives Temporal's completion callbacks, and answers 200 once Kafka has what they led to.

503 is the answer to all else, also to calls that are none of ours. Temporal calls again after a 503; after
most other answers of 400 and more it never does (Temporal Server 1.32.0: 400, 401, 403, 404 and 501). So a
secret that is wrong for an hour delays events, and loses none.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog
from temporalio.service import RPCError

from activities.signing import NotOurs
from service.dispatch.callbacks import Callbacks, Called
from service.errors import TurnoutError
from service.results.closing import Closings
from service.serving import Receive, Scope, Send, serving

log = structlog.get_logger(__name__)

TAKE_SECONDS = 8.0
"""Temporal waits for 10 s (`callback.request.timeout`), and takes a later answer for none."""

SAY_SECONDS = 60.0
CALLS_AT_ONCE = 500
"""More of them are answered 503 without a look: Temporal calls again."""


class Receiver:
    """An ASGI application whose only answers are 200 and 503, both without a body."""

    def __init__(self, callbacks: Callbacks, closings: Closings) -> None:
        self._callbacks = callbacks
        self._closings = closings
        self._said = -SAY_SECONDS
        self._refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        status = 200 if await self._take(headers, receive) else 503
        length = (b"content-length", b"0")
        await send({"type": "http.response.start", "status": status, "headers": [length]})
        await send({"type": "http.response.body"})

    async def _take(self, headers: Mapping[str, str], receive: Receive) -> bool:
        called: Called | None = None
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                await _read_on(receive)
                called = self._callbacks.read(headers)
                published = await self._closings.publish(called.run, called.topic, by="callback")
        except NotOurs as error:
            self._refuse(f"{error}; were secrets changed, and the old one taken away?")
        except (TurnoutError, ValueError) as error:
            self._refuse(str(error), called)
        except RPCError as error:
            self._refuse(f"Temporal answered {error.status.name}: {error.message}", called)
        except TimeoutError:
            self._refuse("Kafka or Temporal took too long, or the call itself", called)
        except Exception:
            log.exception("defect while a callback was taken")
        else:
            if published is None:
                self._refuse("Temporal does not know that it has closed", called)
            return published is not None
        return False

    def _refuse(self, reason: str, called: Called | None = None) -> None:
        """Say so, once a minute at most: in an outage each call is refused, again and again."""
        self._refused += 1
        if time.monotonic() < self._said + SAY_SECONDS:
            return
        log.warning(
            "a callback is not taken now; Temporal repeats it",
            reason=reason,
            workflow_id=called.run.workflow_id if called else "",
            topic=called.topic if called else "",
            refused_since=self._refused,
        )
        self._said, self._refused = time.monotonic(), 0


async def _read_on(receive: Receive) -> None:
    """Take the body, of which nothing is needed: with it unread, the connection could not be used again.

    It holds the result or the failure. But less than the history tells, and each way to end in its own form.
    """
    more = True
    while more:
        part = await receive()
        more = part.get("more_body", False)


@asynccontextmanager
async def receiving(receiver: Receiver | None, address: str) -> AsyncIterator[None]:
    """Listen at `address` (`host:port`) in this block; nowhere without a receiver.

    Raises:
        ConfigurationError: Nothing can listen there.
    """
    if receiver is None:
        yield
        return
    async with serving(
        receiver,
        address,
        "TURNOUT_CLOSING__ADDRESS",
        at_once=CALLS_AT_ONCE,
        grace_seconds=TAKE_SECONDS,
    ):
        log.info("callbacks are taken", address=address)
        yield
