"""Contracts: what a known workflow would not understand is refused before the call."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from temporalio import workflow
from temporalio.common import RawValue

from service.dispatch.contracts import Contracts
from service.errors import RejectedError
from service.routing.commands import Cancel, Command, OrStart, Signal, Start
from tests.unit.records import event

MARKER = "MARKER-of-a-payload"


def never_fits(value: str) -> str:
    raise ValueError(value)


class Order(BaseModel):
    order_id: str
    total_cents: int
    note: str = ""


class Card(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["card"]
    id: UUID


class Cash(BaseModel):
    kind: Literal["cash"]
    note: Annotated[str, AfterValidator(never_fits)]


@workflow.defn
class Shop:
    @workflow.run
    async def run(self, order: Order) -> None: ...

    @workflow.signal
    def paid(self, payment: Annotated[Card | Cash, Field(discriminator="kind")]) -> None: ...

    @workflow.signal
    def counted(self, count: int, of: str) -> None: ...

    @workflow.signal
    def nudged(self) -> None: ...


@workflow.defn
class Club:
    @workflow.run
    async def run(self, anything) -> None: ...  # type: ignore[no-untyped-def] # noqa: ANN001

    @workflow.signal
    def paid(self, cents: int) -> None: ...

    @workflow.signal
    def listed(self, *names: str) -> None: ...


@workflow.defn
class Open:
    @workflow.run
    async def run(self) -> None: ...

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, args: Sequence[RawValue]) -> None: ...


CONTRACTS = Contracts([Shop, Club, Open])
ORDER = {"order_id": "A-1", "total_cents": 1250, "unknown": True}
CARD = {"kind": "card", "id": "0b7e1a52-3f5f-4c1d-9d57-2b6ad0a6a0b1"}


def start(workflow_type: str, *args: Any) -> Start:
    return Start(
        route="r", event=event(), workflow_id="order/A-1", workflow=workflow_type, task_queue="q", args=args
    )


def signal(name: str, *args: Any, or_start: str | None = None, start_args: Sequence[Any] = ()) -> Signal:
    return Signal(
        route="r",
        event=event(),
        workflow_id="order/A-1",
        name=name,
        args=args,
        or_start=OrStart(workflow=or_start, task_queue="q", args=start_args) if or_start else None,
    )


UNDERSTOOD = [
    start("Shop", ORDER),
    start("Club", ORDER),
    start("Club", None),
    start("Open"),
    start("Unknown", 1, 2, 3),
    signal("paid", CARD),
    signal("paid", 100),  # one of several that have the signal
    signal("nudged"),
    signal("counted", 2, "pens"),
    signal("listed", "a", "b", "c"),
    signal("unknown", 1, 2, 3),
    signal("unknown", 1, or_start="Unknown"),
    signal("paid", "x", or_start="Unknown"),  # that others have this signal says nothing of it
    signal("unknown", 1, or_start="Open"),
    signal("paid", 100, or_start="Club", start_args=[{}]),
    Cancel(route="r", event=event(), workflow_id="order/A-1"),
]


@pytest.mark.parametrize("command", UNDERSTOOD)
def test_what_fits_or_is_not_known_passes(command: Command) -> None:
    CONTRACTS.check(command)


REFUSED = {
    "wrong type": (start("Shop", {**ORDER, "total_cents": "many"}), "workflow Shop: total_cents: .*integer"),
    "missing field": (start("Shop", {"order_id": "A-1"}), "workflow Shop: total_cents: Field required"),
    "no object": (start("Shop", [1]), "workflow Shop: the whole: "),
    "too many": (start("Shop", ORDER, 1), "workflow Shop: 2 arguments, but it takes 1"),
    "too few": (start("Shop"), "workflow Shop: 0 arguments, but it takes 1"),
    "signal, too many": (signal("nudged", 1), "signal nudged: 1 arguments, but it takes 0"),
    "signal, second": (signal("counted", 1, 2), "signal counted: the whole: .*string"),
    "signal, none of several": (signal("paid", "x"), "signal paid: "),
    "or_start": (signal("paid", 100, or_start="Shop", start_args=[{}]), "workflow Shop: order_id"),
    "signal of another": (
        signal("paid", 100, or_start="Shop", start_args=[ORDER]),
        "does not fit signal paid",
    ),
    "unknown to or_start": (
        signal("listed", or_start="Shop", start_args=[ORDER]),
        "workflow Shop has no signal named listed",
    ),
}


@pytest.mark.parametrize(("command", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_the_place_of_the_mistake(command: Command, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason):
        CONTRACTS.check(command)


@pytest.mark.parametrize(
    ("command", "position"),
    [
        (start("Shop", {**ORDER, "total_cents": "many"}), "total_cents"),
        (start("Shop", [1]), ""),
        (start("Shop"), ""),
        (signal("paid", {"kind": "card", "id": "?"}), "Card.id"),
    ],
)
def test_the_error_tells_programs_the_path_of_the_first_field_that_does_not_fit(
    command: Command, position: str
) -> None:
    with pytest.raises(RejectedError) as refused:
        CONTRACTS.check(command)
    assert refused.value.position == position


@pytest.mark.parametrize(
    "command",
    [
        start("Shop", {"order_id": 1, "total_cents": MARKER}),
        start("Shop", MARKER),
        signal("paid", {"kind": MARKER}),
        signal("paid", {"kind": "card", "id": MARKER}),
        signal("paid", {"kind": "cash", "note": MARKER}),
        signal("paid", {"kind": "cash", "note": [MARKER]}),
        signal("paid", {**CARD, "more": MARKER}),
        signal("counted", MARKER, 1),
    ],
)
def test_no_reason_holds_a_payload_value(command: Command) -> None:
    with pytest.raises(RejectedError) as refused:
        CONTRACTS.check(command)
    assert MARKER not in str(refused.value)
    assert "found `M`" not in str(refused.value)


class Homemade:
    """A type that only its team's own converter knows."""


@workflow.defn
class TakesHomemade:
    @workflow.run
    async def run(self, thing: Homemade) -> None:
        """Do nothing."""


def test_a_type_that_we_cannot_judge_passes_whatever_is_given() -> None:
    start = Start(
        route="r", event=event(), workflow_id="w", workflow="TakesHomemade", task_queue="q", args=({"a": 1},)
    )
    Contracts([TakesHomemade]).check(start)


@workflow.defn(name="Updated")
class WithUpdates:
    @workflow.run
    async def run(self) -> None:
        """Nothing."""

    @workflow.update
    def deposit(self, cents: int, note: str = "") -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("args", "passes"), [([], False), ([1], True), ([1, "a"], True), ([1, "a", 2], False)]
)
def test_an_update_of_another_number_of_arguments_is_refused_as_it_would_hold_up_its_workflow(
    args: list[Any], passes: bool
) -> None:
    contracts = Contracts([WithUpdates])
    contracts.check_update("withdraw", args)
    if passes:
        contracts.check_update("deposit", args)
        return
    with pytest.raises(RejectedError, match=f"update deposit: {len(args)} arguments, but it takes 2"):
        contracts.check_update("deposit", args)
