"""One trace from a producer's record to the result record, as a collector gets it by OTLP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.local import LocalTemporal
from tests.integration.otlp import Collector, collecting, texts
from tests.integration.service import ECHOES, Site, site

TRACE, PRODUCER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PRODUCER}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as here:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", here.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield here


async def one_trace(here: Site, collector: Collector, name: str, more: dict[str, str]) -> str:
    """Send an event, and see that all spans of it are one below the other; tells the trace's id."""
    place = await here.send("placed", {"id": name}, key=name, id=f"e-{name}", more=more)
    await here.started(name)
    await here.workflow(name).result()
    (result,) = [one for one in await here.read("out") if dict(one.headers)["ce_subject"] == name.encode()]
    version, trace, sender, _ = (dict(result.headers)["traceparent"] or b"").decode().split("-")
    assert version == "00"

    async def all_of_it() -> bool:
        return len({span.name for span in collector.spans if span.trace_id.hex() == trace}) >= 7

    await here.until(all_of_it)
    spans = {span.name: span for span in collector.spans if span.trace_id.hex() == trace}
    topics = here.topics
    below = {
        f"process {topics['in']}": "",
        "dispatch echo": f"process {topics['in']}",
        "RunWorkflow:Echo": "dispatch echo",
        "StartActivity:publish": "dispatch echo",
        "RunActivity:publish": "StartActivity:publish",
        f"send {topics['out']}": "RunActivity:publish",
        "CompleteWorkflow:Echo": "dispatch echo",
    }
    names = {span.span_id: span.name for span in spans.values()}
    assert {name: names.get(span.parent_span_id, "") for name, span in spans.items()} == below
    assert spans[f"send {topics['out']}"].span_id.hex() == sender
    process = spans[f"process {topics['in']}"]
    assert process.parent_span_id.hex() == (PRODUCER if trace == TRACE else "")
    assert process.kind == process.SPAN_KIND_CONSUMER
    assert texts(process.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topics["in"],
        "messaging.destination.partition.id": str(place.partition),
        "messaging.consumer.group.name": here.group,
        "messaging.kafka.offset": str(place.offset),
        "messaging.message.id": f"e-{name}",
        "turnout.event.type": "placed",
    }
    dispatch = texts(spans["dispatch echo"].attributes)
    assert dispatch == {
        "turnout.route": "echo",
        "turnout.command": "start",
        "turnout.outcome": "accepted",
        "temporalWorkflowID": here.workflow_id(name),
    }
    (accepted,) = [
        line for line in here.lines if line["event"] == "accepted" and line["event_id"] == f"e-{name}"
    ]
    assert accepted["offset"] == place.offset
    return trace


async def test_a_trace_goes_from_the_producer_to_the_result_or_begins_with_the_record(
    kafka: str, temporal: LocalTemporal, tmp_path: Path, collector: Collector
) -> None:
    async with site(kafka, temporal.address, tmp_path, ECHOES) as here, here.running():
        assert await one_trace(here, collector, "told", {"traceparent": TRACEPARENT}) == TRACE
        roots = {
            await one_trace(here, collector, "none", {}),
            # None that is one: it is as if there was none, and no reason to give up on the record.
            await one_trace(here, collector, "malformed", {"traceparent": "00-what-is-this-01"}),
        }
        assert len(roots - {TRACE}) == 2
    assert not [line for line in here.lines if line["event"] == "letter written"]
    assert collector.services == {"turnout"}
