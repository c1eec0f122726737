"""Workflows that are looked for by a search attribute, between a real broker and a real server."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client, WorkflowExecutionStatus

from service.dispatch.meeting import met_by
from service.errors import ConfigurationError
from service.failures import parking
from service.local import LocalTemporal
from service.routing.commands import Signal
from service.routing.table import Route, load_routes
from tests.integration.attributes import have_keywords, register
from tests.integration.service import HEAD, Place, Site, headers_of, site
from tests.unit.records import event

ROUTES = f"""{HEAD}\
  @elsewhere: {{}}
routes:
  - name: keep
    from: @in
    type: kept
    start:
      workflow: Keep
      id: "@id/${{data.id}}"
      task_queue: @queue
      input: ${{data}}
      search_attributes: {{OrderNumber: "@id ${{data.number}}"}}
  - name: keep-from-elsewhere
    from: @elsewhere
    type: kept
    start:
      workflow: Keep
      id: "@id/${{data.id}}"
      task_queue: @queue
      input: ${{data}}
      search_attributes: {{OrderNumber: "@id ${{data.number}}"}}
  - name: note
    from: @in
    type: noted
    signal:
      to: {{where: {{OrderNumber: "@id ${{data.number}}"}}}}
      name: note
      input: ${{data.n}}
      missing: {{park: 15m}}
  - name: end
    from: @in
    type: ended
    signal: {{to: {{where: {{OrderNumber: "@id ${{data.number}}", WorkflowType: Keep}}}}, name: end}}
  - name: cancel
    from: @in
    type: cancelled
    cancel: {{to: {{where: {{OrderNumber: "@id ${{data.number}}"}}}}, missing: skip}}
"""


@pytest.fixture(scope="module", autouse=True)
def _looks_briefly() -> Iterator[None]:
    """Visibility of this server lags by milliseconds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parking, "LOOKING_SECONDS", 1.0)
        yield


@asynccontextmanager
async def looking_site(kafka: str, temporal: LocalTemporal, folder: Path) -> AsyncIterator[Site]:
    await have_keywords(await Client.connect(temporal.address), "OrderNumber")
    async with site(kafka, temporal.address, folder, ROUTES, topics=["in", "elsewhere"]) as here:
        yield here


@pytest.fixture(scope="module")
async def here(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A running service that these tests share; each has numbers of its own."""
    async with looking_site(kafka, temporal, tmp_path_factory.mktemp("lookups")) as here, here.running():
        yield here


@pytest.fixture
async def at_rest(kafka: str, temporal: LocalTemporal, tmp_path: Path) -> AsyncIterator[Site]:
    """A service of the test's own, that does not run yet."""
    async with looking_site(kafka, temporal, tmp_path) as here:
        yield here


async def noted(here: Site, name: str) -> list[int]:
    found: list[int] = await here.workflow(name).query("noted")
    return found


async def send(here: Site, kind: str, number: str, n: int = 0, **more: str) -> Place:
    return await here.send(kind, {"number": number, "n": n, **more}, key=number)


async def outcome(here: Site, place: Place) -> tuple[str, str]:
    (said,) = await here.outcomes(place)
    return said.kind, said.detail


async def test_a_workflow_is_found_right_after_it_was_started_and_however_it_goes_on(here: Site) -> None:
    await send(here, "kept", "one", id="first")
    places = [await send(here, "noted", "one", n) for n in range(5)]
    assert [await outcome(here, place) for place in places] == [("accepted", "")] * 5
    assert await noted(here, "first") == [0, 1, 2, 3, 4]
    await here.outcomes(await send(here, "ended", "one"))
    await here.workflow("first").result()
    late = await send(here, "noted", "one", 5)
    kind, detail = await outcome(here, late)
    assert kind == "dead-lettered"
    assert detail.startswith(f"workflow {here.workflow_id('first')} has closed; ")
    assert await outcome(here, await send(here, "cancelled", "nobody's")) == (
        "skipped",
        "no workflow is found by OrderNumber",
    )


async def test_signals_that_come_before_their_workflow_can_be_found_follow_in_order(here: Site) -> None:
    first = await send(here, "noted", "early", 0)
    assert await outcome(here, first) == ("parked", "no workflow is found by OrderNumber")
    others = [await send(here, "noted", "early", n) for n in range(1, 4)]
    for place in others:
        assert await outcome(here, place) == ("parked", "others before it are parked")
    park = f"parked/{here.group}/where/OrderNumber={here.group} early"
    details = await here.client.get_workflow_handle(park).describe()
    assert details.status is WorkflowExecutionStatus.RUNNING
    await here.send("kept", {"id": "early", "number": "early"}, to="elsewhere")
    for place in (first, *others):
        (_, said) = await here.outcomes(place, 2)
        assert (said.kind, said.detail) == ("accepted", "from its park")
    assert await noted(here, "early") == [0, 1, 2, 3]
    cancel = await send(here, "cancelled", "early")
    assert await outcome(here, cancel) == ("accepted", "")


async def test_a_signal_that_is_delivered_again_never_reaches_the_next_workflow_of_that_value(
    at_rest: Site,
) -> None:
    here = at_rest
    async with here.running():
        await send(here, "kept", "again", id="again-1")
        place = await send(here, "noted", "again", 7)
        assert await outcome(here, place) == ("accepted", "")
        await here.outcomes(await send(here, "ended", "again"))
        await here.workflow("again-1").result()
        await here.past(place)
    await here.rewind(place)
    async with here.running():  # while it is the only one
        (_, again) = await here.outcomes(place, 2)
        assert (again.kind, again.detail) == ("accepted", "")
        await here.send("kept", {"id": "again-2", "number": "again"}, to="elsewhere")
        await here.started("again-2")
        await here.past(place)
    await here.rewind(place)
    async with here.running():
        (*_, several) = await here.outcomes(place, 3)
        assert several.kind == "dead-lettered"
        assert await noted(here, "again-2") == []
    (letter,) = await here.letters(place)
    ids = sorted(here.workflow_id(name) for name in ("again-1", "again-2"))
    reason = headers_of(letter)["__dlq.errors.message"]
    assert reason.startswith("several workflows are found by OrderNumber, ")
    assert all(one in reason for one in ids)


async def test_what_cannot_be_looked_for_stops_the_start(at_rest: Site) -> None:
    here = at_rest
    await register(here.client, "Prose", IndexedValueType.INDEXED_VALUE_TYPE_TEXT)
    text = here.settings.routes.read_text()
    for name, problem in {
        "NotThereAtAll": "lacks search attributes",
        "Prose": "no workflow can be looked for by Prose; register what",
    }.items():
        here.settings.routes.write_text(text.replace("where: {OrderNumber", f"where: {{{name}"))
        try:
            with pytest.raises(ConfigurationError, match=problem):
                async with here.running():
                    await here.until(nothing)
        finally:
            here.settings.routes.write_text(text)


async def nothing() -> bool:
    return False


async def test_what_a_lookup_would_meet_now_is_told_before(here: Site) -> None:
    (note, end) = (load_routes(here.settings.routes).route(name) for name in ("note", "end"))
    assert note
    assert end

    async def told(route: Route, number: str) -> list[str]:
        command = route.command(event(data={"number": number, "n": 1}))
        assert command
        return [sentence async for sentence in met_by(command, here.client)]

    assert await told(note, "told") == ["no workflow fits; missing: park for 0:15:00"]
    assert await told(end, "told") == ["no workflow fits; missing: dead-letter"]
    await here.outcomes(await send(here, "kept", "told", id="told-1"))
    await here.outcomes(await send(here, "noted", "told", 1))
    first, state, *others = await told(note, "told")
    assert first == f"it is for {here.workflow_id('told-1')}"
    assert state.startswith(f"{here.workflow_id('told-1')} is running since ")
    assert others[-1] == "its worker has a handler for signal note"
    await here.outcomes(await send(here, "kept", "told", id="told-2"))

    async def several() -> bool:
        sentences = await told(note, "told")
        return len(sentences) == 1 and sentences[0].startswith("several workflows fit, ")

    await here.until(several)


async def test_a_lookup_by_what_is_not_registered_is_told(here: Site) -> None:
    command = Signal(
        route="note", event=event(), workflow_id="", where={"NotThereAtAll": "x"}, name="note", args=()
    )
    told = [sentence async for sentence in met_by(command, here.client)]
    assert told == ["namespace default lacks search attribute NotThereAtAll"]
