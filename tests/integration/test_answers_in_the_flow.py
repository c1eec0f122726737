"""What a proxy before Temporal answers while records flow delays them, and is never held against them."""

from pathlib import Path

from service.local import LocalTemporal
from tests.integration.proxy import Mode, proxy
from tests.integration.service import NOTES_AND_ECHOES, Place, Site, site
from tests.servers import random_port

KEYS = [f"key-{n}" for n in range(8)]
ANSWERS = [Mode.FORBIDDEN, Mode.NOT_FOUND, Mode.TOO_MANY_REQUESTS, Mode.BAD_GATEWAY]


async def test_answers_of_a_proxy_while_records_flow_make_no_letter_and_lose_repeat_or_reorder_nothing(
    kafka: str, temporal: LocalTemporal, tmp_path: Path
) -> None:
    async with (
        proxy(temporal.address, random_port()) as before_temporal,
        site(kafka, before_temporal.address, tmp_path, NOTES_AND_ECHOES) as here,
        here.running(),
    ):
        sent = await _send(here, 0)
        await here.outcomes(sent[0])

        async def some_are_turned_down() -> bool:
            return before_temporal.turned_down >= len(KEYS)

        for n, answer in enumerate(ANSWERS):
            # In the middle of what was sent before.
            before_temporal.become(answer)
            sent += await _send(here, 2 * n + 1)
            await here.until(some_are_turned_down)
            before_temporal.become(Mode.FORWARD)
            sent += await _send(here, 2 * n + 2)
            await here.outcomes(sent[-1])
        await here.past(*sent)
        rounds = range(2 * len(ANSWERS) + 1)
        for key in KEYS:
            assert await here.workflow(key).query("noted") == list(rounds)
        orders = [f"order-{n}" for n in rounds]

        async def all_published() -> bool:
            return {record.key for record in await here.read("out")} == {id_.encode() for id_ in orders}

        await here.until(all_published)
        assert await here.runs() == sorted([*KEYS, *orders])
        assert not await here.letters()


async def _send(here: Site, n: int) -> list[Place]:
    """A note for each key, and an order."""
    notes = [await here.send("noted", {"id": key, "n": n}, key=key) for key in KEYS]
    return [*notes, await here.send("placed", {"id": f"order-{n}"})]
