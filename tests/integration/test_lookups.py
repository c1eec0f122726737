"""Workflows that are looked for by a search attribute, between a real broker and a real server."""

from collections.abc import AsyncIterator

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client, WorkflowExecutionStatus

from service.errors import ConfigurationError
from service.failures import parking
from service.local import LocalTemporal
from tests.integration.attributes import have_keywords, register
from tests.integration.service import HEAD, Place, Site, headers_of, site

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


@pytest.fixture(scope="module")
async def here(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    """A group that these tests share; each has numbers of its own."""
    await have_keywords(await Client.connect(temporal.address), "OrderNumber")
    folder = tmp_path_factory.mktemp("lookups")
    async with site(kafka, temporal.address, folder, ROUTES, topics=["in", "elsewhere"]) as here:
        yield here


@pytest.fixture(autouse=True)
def _looks_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visibility of this server lags by milliseconds."""
    monkeypatch.setattr(parking, "LOOKING_SECONDS", 1.0)


async def noted(here: Site, name: str) -> list[int]:
    found: list[int] = await here.workflow(name).query("noted")
    return found


async def send(here: Site, kind: str, number: str, n: int = 0, **more: str) -> Place:
    return await here.send(kind, {"number": number, "n": n, **more}, key=number)


async def outcome(here: Site, place: Place) -> tuple[str, str]:
    (said,) = await here.outcomes(place)
    return said.kind, said.detail


async def test_a_workflow_is_found_right_after_it_was_started_and_however_it_goes_on(here: Site) -> None:
    async with here.running():
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
    async with here.running():
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
    here: Site,
) -> None:
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


async def test_what_cannot_be_looked_for_stops_the_start(here: Site) -> None:
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
