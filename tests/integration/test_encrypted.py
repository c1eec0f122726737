"""Payloads that are encrypted: nothing in Temporal shows them, and all works as without."""

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from service.local import LocalTemporal
from service.settings import EncryptionSettings
from service.wiring import Roles
from tests.integration.service import ECHO_ROUTE, HEAD, NOTE_ROUTE, OUT, Site, site
from tests.integration.test_closing import by_callbacks
from workflows import encryption
from workflows.encryption import KEY_ID, Encryption, new_key

ROUTES = f"""{HEAD}{OUT}routes:
{NOTE_ROUTE}{ECHO_ROUTE}\
  - name: end
    from: @in
    type: ended
    start: {{workflow: End, id: "@id/${{data.id}}", task_queue: @queue, input: "${{data}}",
            publish_closing: @out, summary: "of ${{data.card}}", memo: {{card: "${{data.card}}"}}}}
"""
CARD = "4711-0815-4711"
BRIDGE, WORKER = Roles(bridge=True, worker=False), Roles(bridge=False, worker=True)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(encryption, "LOOK_SECONDS", 0.1)
    file = tmp_path / "keys"
    file.write_text(f"{new_key('first')}\n")
    return file


@pytest.fixture
async def here(kafka: str, temporal: LocalTemporal, tmp_path: Path, keys: Path) -> AsyncIterator[Site]:
    async with site(kafka, temporal.address, tmp_path, ROUTES, partitions=1, closing=by_callbacks()) as here:
        here.settings = here.settings.model_copy(update={"encryption": EncryptionSettings(keys_file=keys)})
        yield here


def put(file: Path, line: str, before: Path | None = None) -> None:
    file.write_text(f"{line}\n{before.read_text() if before else ''}")


async def history(here: Site, name: str) -> WorkflowHistory:
    return await here.workflow(name).fetch_history()


def in_clear(history: WorkflowHistory) -> str:
    """All that a history shows to who has no key."""
    return "".join(repr(event.SerializeToString()) for event in history.events)


async def ended(here: Site, name: str) -> bool:
    found = await here.described(name)
    return found is not None and found.status is not WorkflowExecutionStatus.RUNNING


async def out(here: Site, key: str) -> list[dict[str, Any]]:
    return [json.loads(one.value or b"") for one in await here.read("out") if one.key == key.encode()]


async def with_key(here: Site, keys: Path) -> Client:
    """A team's own client, which has the key: one line."""
    return await Client.connect(
        here.temporal, data_converter=pydantic_data_converter, plugins=[Encryption(keys)]
    )


async def test_nothing_of_an_event_is_readable_in_temporal_and_all_of_it_where_it_is_needed(
    here: Site, keys: Path
) -> None:
    async with here.running():
        placed = await here.send("placed", {"id": "echo", "card": CARD})
        noted = [await here.send("noted", {"id": "keep", "n": f"{CARD}-{n}"}) for n in range(2)]
        returned = await here.send("ended", {"id": "end", "how": "return", "card": CARD})
        failed = await here.send("ended", {"id": "fail", "how": "fail", "card": CARD})
        await here.past(placed, *noted, returned, failed)
        for name in ("echo", "end", "fail"):
            await here.until(partial(ended, here, name))

        # Nobody without the key reads it, whatever they look at.
        for name in ("echo", "keep", "end", "fail"):
            shown = in_clear(await history(here, name))
            described = await here.described(name)
            assert described is not None
            assert CARD not in shown + str(described.raw_description)
            assert "not paid" not in shown
            # But which event started it: ids are not encrypted.
            assert (await described.memo_value("turnout"))["source"] == "/tests"
            assert "binary/encrypted" in shown

        # Who has it does; subscribers of topics get it as without.
        client = await with_key(here, keys)
        keep = client.get_workflow_handle(here.workflow_id("keep"))
        assert await keep.query("noted") == [f"{CARD}-0", f"{CARD}-1"]
        assert await client.get_workflow_handle(here.workflow_id("echo")).result() == {
            "id": "echo",
            "card": CARD,
        }
        end = await client.get_workflow_handle(here.workflow_id("end")).describe()
        assert await end.memo_value("card") == CARD
        assert await end.static_summary() == f"of {CARD}"
        assert [one["card"] for one in await out(here, "echo")] == [CARD]
        (closing,) = await here.until(lambda: out(here, here.workflow_id("end")))
        assert CARD in json.dumps(closing["result"])
        (closing,) = await here.until(lambda: out(here, here.workflow_id("fail")))
        assert (closing["failure"]["type"], closing["failure"]["text"]) == ("PaymentFailed", "not paid")
        assert closing["failure"]["causes"] == [{"type": "CardDeclined", "text": "card declined"}]


async def test_a_key_is_replaced_while_workflows_run_and_one_that_lacks_is_waited_for(
    here: Site, keys: Path
) -> None:
    async def key_of(name: str) -> bytes:
        """The key of what it was started with."""
        start = (await history(here, name)).events[0].workflow_execution_started_event_attributes
        return start.input.payloads[0].metadata[KEY_ID]

    async with here.running():
        await here.past(await here.send("placed", {"id": "before", "card": CARD}))
        await here.until(lambda: ended(here, "before"))
    both, new = keys.with_name("both"), new_key("second")
    put(both, new, keys)
    bridge = here.settings
    here.settings = bridge.model_copy(update={"encryption": EncryptionSettings(keys_file=both)})
    async with here.running(BRIDGE):
        here.settings = bridge  # the worker knows the old key alone
        async with here.running(WORKER):
            place = await here.send("placed", {"id": "after", "card": CARD})
            await here.past(place)

            async def is_tried() -> bool:
                events = (await history(here, "after")).events
                return any(event.HasField("workflow_task_failed_event_attributes") for event in events)

            await here.until(is_tried)
            assert not await ended(here, "after")
            put(keys, new, keys)  # without a restart
            await here.until(lambda: ended(here, "after"))
    assert (await key_of("before"), await key_of("after")) == (b"first", b"second")
    assert [one["card"] for one in await out(here, "after")] == [CARD]
    assert not await here.letters()
