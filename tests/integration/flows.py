"""Workflows for the tests of this folder, found by the worker as those of any team are."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from workflows.calls import Calls
    from workflows.results import Results


class Parcel(BaseModel):
    """An input with a type, so that there is something to misfit."""

    id: str
    weight_grams: int


@workflow.defn
class Echo:
    """Publishes its input on a topic and ends with it."""

    @workflow.run
    async def run(self, data: dict[str, Any], topic: str) -> dict[str, Any]:
        await Results(topic, "tests/echo").publish("echoed", data["id"], data)
        return data


@workflow.defn
class EchoHere:
    """As `Echo`, publishing within the worker."""

    @workflow.run
    async def run(self, data: dict[str, Any], topic: str) -> None:
        await Results(topic, "tests/echo", local=True).publish("echoed", data["id"], data)


@workflow.defn
class Weigh:
    """Takes a `Parcel` and ends at once."""

    @workflow.run
    async def run(self, parcel: Parcel) -> int:
        return parcel.weight_grams


@workflow.defn
class Keep:
    """Keeps what it is told, in order, until it is told to end."""

    @workflow.init
    def __init__(self, data: Any) -> None:
        self._noted: list[Any] = []
        self._ended = False

    @workflow.run
    async def run(self, data: Any) -> list[Any]:
        await workflow.wait_condition(lambda: self._ended)
        return self._noted

    @workflow.signal
    def note(self, value: Any) -> None:
        self._noted.append(value)

    @workflow.signal
    def end(self) -> None:
        self._ended = True

    @workflow.query
    def noted(self) -> list[Any]:
        return self._noted


@workflow.defn
class KeepFive:
    """Keeps what it is told; after five it rests for three seconds, and goes on in a new run."""

    @workflow.init
    def __init__(self, noted: list[Any]) -> None:
        self._noted = noted
        self._full = len(noted) + 5

    @workflow.run
    async def run(self, noted: list[Any]) -> None:
        await workflow.wait_condition(lambda: len(self._noted) >= self._full)
        await workflow.sleep(3)
        workflow.continue_as_new(self._noted)

    @workflow.signal
    def note(self, value: Any) -> None:
        self._noted.append(value)

    @workflow.query
    def noted(self) -> list[Any]:
        return self._noted


class Asked(BaseModel):
    """How a workflow asks: for how long it waits, after how long it asks again, in seconds."""

    topic: str
    limit: float = 60
    again: float | None = None
    at_once: bool = True


class Answer(BaseModel):
    """A reply with a type."""

    n: int


@workflow.defn
class Ask:
    """Asks another service, at once or when it is told to, and ends with the reply."""

    @workflow.init
    def __init__(self, asked: Asked) -> None:
        self._told = asked.at_once
        self._calls = Calls(asked.topic, "tests/ask")

    @workflow.run
    async def run(self, asked: Asked) -> int:
        await workflow.wait_condition(lambda: self._told)
        answer = await self._calls.call(
            "asked",
            workflow.info().workflow_id,
            {"what": "n"},
            reply=Answer,
            limit=timedelta(seconds=asked.limit),
            ask_again_after=timedelta(seconds=asked.again) if asked.again else None,
        )
        return answer.n

    @workflow.signal
    def tell(self) -> None:
        self._told = True


@workflow.defn
class End:
    """Ends as it is told: `{"how": "fail"}`; with `runs` left, in a later run."""

    @workflow.run
    async def run(self, data: dict[str, Any]) -> Any:
        if data.get("runs"):
            workflow.continue_as_new({**data, "runs": data["runs"] - 1})
        match data["how"]:
            case "fail":
                declined = ApplicationError("card declined", type="CardDeclined")
                raise ApplicationError("not paid", type="PaymentFailed") from declined
            case "wait":
                await workflow.wait_condition(lambda: False)
            case "bytes":
                return b"no JSON"
            case "huge":
                return 1 << 70
        return data


@workflow.defn
class Tally:
    """Counts upwards, as it is asked by updates."""

    @workflow.init
    def __init__(self, begin: int) -> None:
        self._sum = begin

    @workflow.run
    async def run(self, begin: int) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    def add(self, n: int) -> int:
        if n > 100:
            raise ApplicationError("that is too much", type="TooMuch")
        self._sum += n
        return self._sum

    @add.validator
    def _only_up(self, n: int) -> None:
        if n < 0:
            raise ValueError("only up")

    @workflow.query
    def sum(self) -> int:
        return self._sum
