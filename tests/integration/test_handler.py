"""The handler API's one contract, held against a running service: what each call comes to."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from service.api.models import Cancel, Describe, Query, Result, Signal, Update
from service.api.refusals import Kind, Refusal
from service.local import LocalTemporal
from service.settings import ApiSettings
from service.temporal.switchboard import switchboard_id
from tests.integration.api_site import NOW, Asked, asked_site


@pytest.fixture(scope="module")
async def asked(
    kafka: str, temporal: LocalTemporal, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asked]:
    folder = tmp_path_factory.mktemp("handler")
    async with asked_site(kafka, temporal.address, folder, ApiSettings(calls=20)) as here:
        yield here


# --- publish ---


async def test_a_published_event_goes_by_the_routes_and_each_outcome_is_the_answer(asked: Asked) -> None:
    (outcome,) = await asked.publish("noted", {"id": "p1", "n": 1})
    assert (outcome.outcome, outcome.route, outcome.workflow_id) == ("accepted", "note", asked.id("p1"))
    assert (await asked.publish("placed", {"id": "p2"}))[0].outcome == "accepted"
    assert await asked.site.workflow("p2").result() == {"id": "p2"}


async def test_an_event_takes_effect_once_though_it_is_published_twice_and_in_kafka(
    asked: Asked,
) -> None:
    await asked.start("p3")
    event = str(uuid.uuid4())
    await asked.publish("told", {"id": "p3", "n": 1}, id=event)
    await asked.publish("told", {"id": "p3", "n": 1}, id=event)
    place = await asked.site.send("told", {"id": "p3", "n": 1}, id=event)
    await asked.site.outcomes(place)
    assert await _noted(asked, "p3") == [1]


async def test_a_start_that_is_published_again_is_a_duplicate(asked: Asked) -> None:
    assert (await asked.publish("placed", {"id": "p4"}, id="p4"))[0].outcome == "accepted"
    assert (await asked.publish("placed", {"id": "p4"}, id="p4"))[0].outcome == "duplicate"


async def test_what_would_be_a_letter_is_refused_and_nothing_of_it_is_kept(asked: Asked) -> None:
    with pytest.raises(Refusal, match="weight_grams") as refused:
        await asked.publish("weighed", {"id": "p5"})
    assert refused.value.kind is Kind.REFUSED
    assert [one.route for one in refused.value.outcomes] == ["weighed"]
    for kind, why in {"unheard-of": "no route takes type", "": "type is empty"}.items():
        with pytest.raises(Refusal, match=why):
            await asked.publish(kind, {})
    assert await asked.site.letters() == []
    assert await asked.site.described("p5") is None


async def test_a_signal_whose_workflow_is_not_there_is_parked_and_reaches_it(asked: Asked) -> None:
    (outcome,) = await asked.publish("told", {"id": "p6", "n": 6})
    assert outcome.outcome == "parked"
    await asked.start("p6")
    await asked.publish("told", {"id": "p6", "n": 7})  # goes behind it

    async def both() -> bool:
        return len(await _noted(asked, "p6")) == 2

    await asked.site.until(both)
    assert await _noted(asked, "p6") == [6, 7]


async def test_topics_that_no_route_reads_and_mapped_ones_take_nothing(asked: Asked) -> None:
    for topic, kind in {"out": Kind.NOT_FOUND, "mapped": Kind.UNSUPPORTED}.items():
        with pytest.raises(Refusal) as refused:
            await asked.publish("noted", {"id": "x"}, topic=topic)
        assert refused.value.kind is kind


async def test_what_is_paused_is_refused_at_once_and_goes_on_later(asked: Asked) -> None:
    await asked.start("p7")
    board = asked.site.client.get_workflow_handle(switchboard_id(asked.site.group))
    await board.signal("pause", {"name": "told", "by": "ada", "because": "a look"})

    async def published(n: int) -> str:
        try:
            await asked.publish("told", {"id": "p7", "n": n}, id=f"p7-{n}")
        except Refusal as refused:
            return f"{refused.kind}: {refused}"
        return ""

    numbers = itertools.count()
    said = await asked.site.until(lambda: published(next(numbers)))
    assert said.startswith("unavailable: paused: route told since ")
    assert "by ada: a look" in said
    await board.signal("resume", {"name": "told"})

    async def goes_on() -> bool:
        return await published(-1) == ""

    await asked.site.until(goes_on)
    assert (await _noted(asked, "p7"))[-1] == -1


# --- start, signal, cancel ---


async def test_a_start_takes_effect_once_and_a_repeat_with_its_key_is_a_duplicate(asked: Asked) -> None:
    call = replace(NOW, key="k-1", identity="token shop")
    assert await asked.start("s1", call=call) == "accepted"
    assert await asked.start("s1", call=call) == "duplicate"
    ours = asked.site.client.namespace
    assert await asked.start("s1", call=call, namespace=ours) == "duplicate"
    for other in (NOW, replace(call, identity="jwt sub shop"), replace(call, key="k-2")):
        with pytest.raises(Refusal) as refused:
            await asked.start("s1", call=other)
        assert refused.value.kind is Kind.ALREADY_EXISTS


async def test_signals_with_one_key_take_effect_once(asked: Asked) -> None:
    await asked.start("s2")
    for key, value in [("a", 1), ("a", 1), ("b", 2), ("", 3), ("", 3)]:
        signal = Signal(workflow_id=asked.id("s2"), name="note", args=[value])
        await asked.handler.signal(signal, replace(NOW, key=key))
    assert await _noted(asked, "s2") == [1, 2, 3, 3]


async def test_a_cancelled_workflow_ends_and_takes_no_signal_any_more(asked: Asked) -> None:
    await asked.start("s3")
    cancel = Cancel(workflow_id=asked.id("s3"), reason="a test")
    assert (await asked.handler.cancel(cancel, NOW)).outcome == "accepted"
    ended = await asked.handler.result(Result(workflow_id=asked.id("s3"), wait=timedelta(seconds=9)), NOW)
    assert ended.status == "canceled"
    with pytest.raises(Refusal) as refused:
        await asked.handler.signal(Signal(workflow_id=asked.id("s3"), name="note", args=[1]), NOW)
    assert refused.value.kind is Kind.CLOSED
    assert (await asked.handler.cancel(cancel, NOW)).outcome == "accepted"  # as it was


async def test_a_workflow_that_ended_by_itself_is_not_cancelled(asked: Asked) -> None:
    await asked.start("s5", "End", args=[{"how": "well"}])
    await asked.site.workflow("s5").result()
    with pytest.raises(Refusal) as refused:
        await asked.handler.cancel(Cancel(workflow_id=asked.id("s5")), NOW)
    assert refused.value.kind is Kind.CLOSED


async def test_input_that_misfits_and_workflows_that_our_workers_lack_are_refused(asked: Asked) -> None:
    with pytest.raises(Refusal, match="weight_grams") as refused:
        await asked.start("s4", "Weigh", args=[{"id": "s4"}])
    assert refused.value.kind is Kind.INVALID_ARGUMENT
    with pytest.raises(Refusal, match="have no workflow Keep"):
        await asked.start("s4", task_queue=f"turnout.{asked.site.group}")
    with pytest.raises(Refusal, match="have no workflow Unheard") as refused:
        await asked.start("s4", "Unheard")
    assert refused.value.kind is Kind.INVALID_ARGUMENT
    assert await asked.site.described("s4") is None


async def test_what_is_not_there_is_not_found(asked: Asked) -> None:
    there = {"workflow_id": asked.id("nobody")}
    for call in (
        asked.handler.signal(Signal(**there, name="note", args=[1]), NOW),
        asked.handler.cancel(Cancel(**there), NOW),
        asked.handler.update(Update(**there, name="n"), NOW),
        asked.handler.query(Query(**there, name="n"), NOW),
        asked.handler.describe(Describe(**there), NOW),
        asked.handler.result(Result(**there), NOW),
    ):
        with pytest.raises(Refusal) as refused:
            await call
        assert refused.value.kind is Kind.NOT_FOUND


async def test_namespaces_that_nobody_allowed_are_forbidden(asked: Asked) -> None:
    for call in (
        asked.handler.describe(Describe(workflow_id="x", namespace="other"), NOW),
        asked.handler.signal(Signal(workflow_id="x", name="n", namespace="other"), NOW),
    ):
        with pytest.raises(Refusal) as refused:
            await call
        assert refused.value.kind is Kind.FORBIDDEN


# --- updates, queries, results ---


async def test_an_update_is_carried_out_once_for_each_key(asked: Asked) -> None:
    await asked.start("u1", "Tally", args=[0])
    update = Update(workflow_id=asked.id("u1"), name="add", args=[2])
    answers = [
        (await asked.handler.update(update, replace(NOW, key=key))).result for key in ("a", "a", "b", "")
    ]
    assert answers == [2, 2, 4, 6]


async def test_an_update_that_the_workflow_refuses_says_why(asked: Asked) -> None:
    await asked.start("u2", "Tally", args=[0])
    for args, said, kind in [([-1], "only up", "ValueError"), ([1000], "too much", "TooMuch")]:
        update = Update(workflow_id=asked.id("u2"), name="add", args=args)
        with pytest.raises(Refusal, match=said) as refused:
            await asked.handler.update(update, NOW)
        assert refused.value.kind is Kind.REFUSED
        assert refused.value.failure is not None
        assert refused.value.failure.type == kind


async def test_a_query_is_answered_and_one_that_the_workflow_lacks_is_refused(asked: Asked) -> None:
    await asked.start("q1", "Tally", args=[7])
    query = Query(workflow_id=asked.id("q1"), name="sum")
    assert (await asked.handler.query(query, NOW)).result == 7
    with pytest.raises(Refusal, match="nothing-such") as refused:
        await asked.handler.query(query.model_copy(update={"name": "nothing-such"}), NOW)
    assert refused.value.kind is Kind.REFUSED


async def test_without_a_worker_queries_and_updates_end_in_time_and_say_so(asked: Asked) -> None:
    await asked.start("w1", "Tally", args=[0], task_queue=f"{asked.site.group}-nobody")
    target = {"workflow_id": asked.id("w1")}
    soon = replace(NOW, limit=timedelta(seconds=1))
    for call in (
        asked.handler.query(Query(**target, name="sum"), soon),
        asked.handler.update(Update(**target, name="add", args=[1]), soon),
    ):
        with pytest.raises(Refusal, match=r"no (worker polls|poller seen)") as refused:
            await call
        assert refused.value.kind in {Kind.TIME_IS_UP, Kind.UNAVAILABLE}
    described = await asked.handler.describe(Describe(**target), NOW)
    assert (described.workers, described.status, described.workflow) == (0, "running", "Tally")
    ended = await asked.handler.result(Result(**target, wait=timedelta(seconds=0.2)), NOW)
    assert (ended.status, ended.result) == ("running", None)


async def test_results_are_those_of_the_last_run(asked: Asked) -> None:
    for how, status in {"well": "completed", "fail": "failed"}.items():
        await asked.start(f"r-{how}", "End", args=[{"how": how, "runs": 1}])
        asking = Result(workflow_id=asked.id(f"r-{how}"), wait=timedelta(seconds=9))
        ended = await asked.handler.result(asking, NOW)
        assert ended.status == status
        if how == "fail":
            assert ended.failure is not None
            assert ended.failure.type == "PaymentFailed"
        else:
            assert ended.result == {"how": "well", "runs": 0}


async def test_a_result_that_is_no_json_is_said_to_be_none(asked: Asked) -> None:
    await asked.start("r-bytes", "End", args=[{"how": "bytes"}])
    asking = Result(workflow_id=asked.id("r-bytes"), wait=timedelta(seconds=9))
    with pytest.raises(Refusal) as refused:
        await asked.handler.result(asking, NOW)
    assert refused.value.kind is Kind.NOT_JSON


# --- bounds ---


async def test_more_calls_than_fit_are_refused_at_once_and_the_others_go_on(asked: Asked) -> None:
    await asked.start("b1")
    waiting = Result(workflow_id=asked.id("b1"), wait=timedelta(seconds=5))
    held = [asyncio.create_task(asked.handler.result(waiting, NOW)) for _ in range(20)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        await asked.handler.describe(Describe(workflow_id=asked.id("b1")), NOW)
    assert refused.value.kind is Kind.BUSY
    place = await asked.site.send("noted", {"id": "b2", "n": 1})
    assert [said.kind for said in await asked.site.outcomes(place)] == ["accepted"]
    await asked.site.workflow("b1").signal("end")
    assert {(await one).status for one in held} == {"completed"}


async def test_who_waits_for_an_end_is_told_when_the_service_stops(asked: Asked) -> None:
    await asked.start("b3")
    there = {"workflow_id": asked.id("b3")}
    waiting = asyncio.create_task(asked.handler.result(Result(**there, wait=timedelta(seconds=9)), NOW))
    await asked.handler.describe(Describe(**there), NOW)
    asked.handler.close()
    try:
        with pytest.raises(Refusal, match="the service stops; ask again") as refused:
            await waiting
        assert refused.value.kind is Kind.UNAVAILABLE
        with pytest.raises(Refusal, match="starts or stops"):
            await asked.handler.describe(Describe(**there), NOW)
    finally:
        asked.handler.open()


async def _noted(asked: Asked, name: str) -> list[Any]:
    answer = await asked.handler.query(Query(workflow_id=asked.id(name), name="noted"), NOW)
    assert isinstance(answer.result, list)
    return answer.result
