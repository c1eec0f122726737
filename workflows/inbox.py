"""The inbox: drops, inside each workflow, a signal that it has taken already.

Add it to any Python worker in one line; no workflow needs a line of its own:

    Worker(client, task_queue=…, workflows=[…], plugins=[Inbox()])

This file imports only the standard library and temporalio, so a team can copy it.

The contract, for workers in other languages:

* A signal's header `turnout-id` holds the ids of its events, 16 raw bytes each, in order. A signal with
  several ids is a batch: its first argument is a list with one item per id. A signal without
  the header is not from turnout, and always passes.
* An id that is among the newest 1,000 of the workflow is dropped: its item from the batch, or the
  whole signal when nothing is left of it.
* At continue-as-new, header `turnout-seen` of the new run holds those ids, 16 raw bytes each, the
  oldest first.

Once a workflow has been signalled by turnout, its query `turnout_inbox` tells how many ids it remembers and
how many repeats this run has dropped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.plugin import SimplePlugin
from temporalio.worker import (
    ContinueAsNewInput,
    HandleSignalInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

ID_HEADER = "turnout-id"
SEEN_HEADER = "turnout-seen"
ID_BYTES = 16

QUERY = "turnout_inbox"

WINDOW = 1_000
"""How many ids a workflow remembers. Not a setting: with another window, the replay of a history
would drop other signals than the workflow did when it ran."""


def repeats_dropped() -> int:
    """How many events this run has dropped as repeats, for a workflow's own words about itself."""
    asked = workflow.get_query_handler(QUERY)
    return int(asked()["dropped"]) if asked else 0


class Inbox(SimplePlugin):
    """A worker plugin that drops repeated signals in all workflows of the worker.

    Deploy it before the first route signals a workflow: a running one that already took the same
    signal twice fails to replay with it.
    """

    def __init__(self) -> None:
        """Make the plugin; it has no settings."""
        super().__init__("turnout.inbox", interceptors=[_InboxInterceptor()])


class _InboxInterceptor(Interceptor):
    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002 - the SDK's name for it
    ) -> type[WorkflowInboundInterceptor]:
        return _Inbound


class _Seen:
    """The newest ids, oldest first."""

    def __init__(self) -> None:
        self._ids: dict[bytes, None] | None = None
        self.dropped = 0

    def first_time(self, id_: bytes) -> bool:
        """Whether `id_` is new; it is remembered, and the oldest forgotten."""
        ids = self._known()
        if id_ in ids:
            self.dropped += 1
            return False
        ids[id_] = None
        if len(ids) > WINDOW:
            del ids[next(iter(ids))]
        return True

    def packed(self) -> bytes:
        """All of them as the header holds them."""
        return b"".join(self._known())

    def told(self) -> dict[str, int]:
        """What people are told."""
        return {"remembered": len(self._known()), "dropped": self.dropped}

    def _known(self) -> dict[bytes, None]:
        # At first use, not earlier and not later: `workflow.info()` does not work when interceptors
        # are made, and the signals of the first task run before `execute_workflow`.
        if self._ids is None:
            header = workflow.info().headers.get(SEEN_HEADER)
            self._ids = dict.fromkeys(_split(header.data) if header else ())
        return self._ids


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._seen = _Seen()
        super().init(_Outbound(outbound, self._seen))

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002 - the SDK's name for it
        header = input.headers.get(ID_HEADER)
        if header is None:
            return await super().handle_signal(input)
        workflow.set_query_handler(QUERY, self._seen.told)
        news = [self._seen.first_time(id_) for id_ in _split(header.data)]
        if all(news):
            return await super().handle_signal(input)
        workflow.metric_meter().create_counter(
            "turnout_inbox_dropped", "Events of signals that were dropped as repeats"
        ).add(news.count(False))
        if any(news):
            return await super().handle_signal(_without_repeats(input, news))
        return None


class _Outbound(WorkflowOutboundInterceptor):
    def __init__(self, outbound: WorkflowOutboundInterceptor, seen: _Seen) -> None:
        super().__init__(outbound)
        self._seen = seen

    def continue_as_new(self, input: ContinueAsNewInput) -> None:  # type: ignore[override] # noqa: A002
        if packed := self._seen.packed():
            seen = Payload(metadata={"encoding": b"binary/plain"}, data=packed)
            input = replace(input, headers={**input.headers, SEEN_HEADER: seen})  # noqa: A001
        super().continue_as_new(input)


def _split(packed: bytes) -> Iterator[bytes]:
    return (packed[start : start + ID_BYTES] for start in range(0, len(packed), ID_BYTES))


def _without_repeats(batch: HandleSignalInput, news: Sequence[bool]) -> HandleSignalInput:
    """`batch` with its news alone.

    Raises:
        TypeError: Its handler takes neither a list nor raw values. The workflow waits until it does.
    """

    def kept(value: Any) -> Any:
        if isinstance(value, RawValue):
            converter = workflow.payload_converter()
            return RawValue(converter.to_payload(kept(converter.from_payload(value.payload))))
        if not isinstance(value, list | tuple) or len(value) != len(news):
            raise TypeError(
                f"signal {batch.signal} brings batches: let the parameter of its handler be a list"
            )
        return [item for item, new in zip(value, news, strict=True) if new]

    if workflow.get_signal_handler(batch.signal):
        return replace(batch, args=[kept(batch.args[0]), *batch.args[1:]])
    # A dynamic one gets the name, then the values, or in the older form each of them.
    name, values, *more = batch.args
    raw = isinstance(values, list) and all(isinstance(value, RawValue) for value in values)
    return replace(batch, args=[name, [kept(values[0]), *values[1:]] if raw else kept(values), *more])
