"""The texts that the table goes by are those of a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RetryConfig, RPCError

from service.dispatch.answers import Meaning, meaning_of, said
from service.dispatch.lookup import Lookup
from service.errors import RouteError
from service.local import LocalTemporal
from service.routing.lookups import checked_value
from service.temporal.client import for_namespace
from tests.servers import random_port

MOST_SIGNALS = 3
CALLS_PER_SECOND = 50


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalTemporal]:
    """One of our own, since its limits are low."""
    folder = tmp_path_factory.mktemp("temporal")
    server = LocalTemporal(folder, random_port(), random_port(), keep=False)
    for setting in (
        f"history.maximumSignalsPerExecution={MOST_SIGNALS}",
        f"frontend.namespaceRPS={CALLS_PER_SECOND}",
    ):
        server.child._argv += ["--dynamic-config-value", setting]  # noqa: SLF001 - nobody else needs to
    async with server:
        yield server


@pytest.fixture(scope="module")
async def real(server: LocalTemporal) -> Client:
    # Without the SDK's own retries: they would hide what the server says.
    return await Client.connect(server.address, retry_config=RetryConfig(max_retries=1))


async def start(client: Client, workflow_id: str, arg: Any = None, **options: Any) -> Any:
    return await client.start_workflow(
        "Nobody", arg, id=workflow_id, **{"task_queue": "nobody-listens", **options}
    )


async def answer(call: Awaitable[Any]) -> RPCError:
    with pytest.raises(RPCError) as raised:
        await call
    return raised.value


def attributes(key: SearchAttributeKey[Any], value: Any) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(key, value)])


async def test_what_is_too_large_speaks_of_the_input(real: Client) -> None:
    running = await start(real, "large")
    keyword = SearchAttributeKey.for_keyword("TurnoutRoute")
    for size in (3 << 20, 5 << 20):  # over the server's limit for a payload, and over gRPC's for a call
        large = "x" * size
        for call in (
            start(real, "x", large),
            start(real, "x", memo={"note": large}),
            start(real, "x", start_signal="paid", start_signal_args=[large]),
            running.signal("paid", large),
            start(real, "x" * 1_001),
            start(real, "x" * 1_001, start_signal="paid"),
            start(real, "x", search_attributes=attributes(keyword, "x" * 2_049)),
        ):
            assert meaning_of(await answer(call)) is Meaning.REJECTED


async def test_a_target_is_missing_or_closed(real: Client) -> None:
    nobody = real.get_workflow_handle("workflow execution already completed")
    for call in (nobody.signal("paid"), nobody.cancel(), nobody.describe()):
        assert meaning_of(await answer(call)) is Meaning.MISSING
    closed = await start(real, "closed")
    await closed.terminate()
    assert meaning_of(await answer(closed.signal("paid"))) is Meaning.CLOSED


async def test_a_workflow_that_has_taken_all_signals_it_can_is_busy(real: Client) -> None:
    full = await start(real, "full")
    for _ in range(MOST_SIGNALS):
        await full.signal("paid")
    assert meaning_of(await answer(full.signal("paid"))) is Meaning.TARGET_BUSY


async def test_what_an_operator_can_mend_waits(real: Client) -> None:
    elsewhere = for_namespace(real, "not-there")
    unknown = SearchAttributeKey.for_keyword("NotThere")
    for call in (
        start(elsewhere, "x"),
        elsewhere.get_workflow_handle("x").signal("paid"),
        start(real, "x", search_attributes=attributes(unknown, "x")),
        start(real, "x", task_queue="/_sys/orders"),
        start(real, "x", task_queue="x" * 1_001),
    ):
        assert meaning_of(await answer(call)) is Meaning.NOT_NOW


async def test_a_value_that_the_server_quotes_is_not_shown(real: Client) -> None:
    number = SearchAttributeKey.for_int("TurnoutRoute")
    quoting = await answer(start(real, "x", search_attributes=attributes(number, 4711)))
    assert meaning_of(quoting) is Meaning.NOT_NOW
    assert "4711" in quoting.message
    assert "4711" not in said(quoting)


# --- what is looked for ---

TYPES = {
    "Group": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "The Number": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "Flag": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
}
# fmt: off
VALUES = [
    "A-1", "a-1", "it's", "a''b", "x' OR '1'='1 or x", "x') OR (1=1", "per%cent", "under_score", "tick`",
    "ümlaut 漢字 🚂", " lead", "trail ", "(x)", "?", ":v1", "${x}", "-- c", "/* c */", "null", "true", "5",
    "2020-01-01", "x" * 255,
]
# fmt: on


@pytest.fixture(scope="module")
async def lookup(real: Client) -> Lookup:
    registered = dict(TYPES)
    request = AddSearchAttributesRequest(namespace="default", search_attributes=registered)
    await real.operator_service.add_search_attributes(request)
    await has_them(real)
    return Lookup(registered)


async def has_them(client: Client) -> None:
    """Wait until the server takes them, which it looks up now and then."""
    async with asyncio.timeout(60):
        while True:
            with suppress(RPCError):
                await started_as(client, "group", "first")
                return
            await asyncio.sleep(0.1)


async def started_as(
    client: Client, workflow_id: str, group: str, number: int = 0, *, flag: bool = True
) -> None:
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(SearchAttributeKey.for_keyword("Group"), group),
        SearchAttributePair(SearchAttributeKey.for_int("The Number"), number),
        SearchAttributePair(SearchAttributeKey.for_bool("Flag"), flag),
    ]
    await start(client, workflow_id, search_attributes=TypedSearchAttributes(pairs))


async def test_each_value_that_may_be_looked_for_is_found_and_no_other(real: Client, lookup: Lookup) -> None:
    for number, value in enumerate(VALUES):
        assert checked_value(value, "")
        await started_as(real, f"value/{number}", value, number, flag=number == 3)
    for number, value in enumerate(VALUES):
        await finds(real, lookup, {"Group": value}, f"value/{number}")
        await finds(real, lookup, {"Group": value, "The Number": f"{number}"}, f"value/{number}")
        assert await lookup.ids(real, {"Group": value, "The Number": "-1"}) == []
    await finds(real, lookup, {"Flag": "false", "The Number": "7", "WorkflowType": "Nobody"}, "value/7")
    assert await lookup.ids(real, {"Group": "A-1", "WorkflowType": "Somebody"}) == []


async def finds(client: Client, lookup: Lookup, where: dict[str, str], *workflow_ids: str) -> None:
    """Wait until these are found, since visibility lags."""
    found: list[str] = []
    for _ in range(200):
        found = sorted(await lookup.ids(client, where))
        if found == [*workflow_ids]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(where, found)


async def test_what_is_refused_would_not_be_found(real: Client, lookup: Lookup) -> None:
    """Once a server finds it, it need not be refused any more."""
    for number, value in enumerate(['dou"ble', "back\\slash", "'a", "a'", "''"]):
        with pytest.raises(RouteError):
            checked_value(value, "")
        await started_as(real, f"refused/{number}", value, 1_000 + number)
        await finds(real, lookup, {"The Number": f"{1_000 + number}"}, f"refused/{number}")
        assert await lookup.ids(real, {"Group": value}) == []


async def test_closed_ones_are_found_too_and_those_that_run_alone_where_that_is_asked_for(
    real: Client, lookup: Lookup
) -> None:
    await started_as(real, "ended/1", "ended")
    await finds(real, lookup, {"Group": "ended"}, "ended/1")
    await real.get_workflow_handle("ended/1").terminate()
    await started_as(real, "ended/2", "ended")
    await finds(real, lookup, {"Group": "ended"}, "ended/1", "ended/2")
    await finds(real, lookup, {"Group": "ended", "ExecutionStatus": "Running"}, "ended/2")


async def test_a_query_that_the_server_refuses_is_not_quoted(real: Client) -> None:
    number = Lookup({"Group": IndexedValueType.INDEXED_VALUE_TYPE_INT})
    refused = await answer(number.ids(real, {"Group": "4711"}))
    assert meaning_of(refused) is Meaning.NOT_NOW
    assert "4711" in refused.message
    assert "4711" not in said(refused)


# --- the quota, which would be used up for all others ---


async def test_calls_beyond_the_quota_are_throttled(real: Client) -> None:
    nobody = real.get_workflow_handle("nobody")
    answers = await asyncio.gather(*(answer(nobody.signal("paid")) for _ in range(4 * CALLS_PER_SECOND)))
    assert {meaning_of(one) for one in answers} == {Meaning.MISSING, Meaning.THROTTLED}
