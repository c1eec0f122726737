"""The texts that the table goes by are those of a real server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RetryConfig, RPCError

from service.dispatch.answers import Meaning, meaning_of, said
from service.local import LocalTemporal
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


async def test_calls_beyond_the_quota_are_throttled(real: Client) -> None:
    nobody = real.get_workflow_handle("nobody")
    answers = await asyncio.gather(*(answer(nobody.signal("paid")) for _ in range(4 * CALLS_PER_SECOND)))
    assert {meaning_of(one) for one in answers} == {Meaning.MISSING, Meaning.THROTTLED}
