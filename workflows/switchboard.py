"""The switchboard: what is paused, by whom, why and since when. People work it in the Temporal UI.

There is one per consumer group, with the id `switchboard/<group>`. Its signals `pause` and `resume`
take `{"name": "shop.orders", "because": "…", "by": "ada"}`, or just `"shop.orders"`; the name is that
of a topic or of a route. Each bridge of the group reads the memo, which holds the state, every few
seconds. So what was said once is obeyed after every restart, also where no worker runs.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

    from workflows.markdown import as_text
    from workflows.topics import is_pattern, matches

MEMO = "switchboard"
"""The memo that holds the state."""

MOST_PAUSED = 200
MOST_RESUMED = 10
"""How many of the latest are kept. Bounded, since the memo is read every few seconds."""

HOW_TO = """\
To pause a topic or a route, send the signal `pause` with `{"name": "NAME", "because": "…", "by": "…"}`; to
resume it, send `resume` with `"NAME"`. Or: `turnout pause NAME --because …`, `turnout resume NAME`."""

NOT_SAID = "(see the signal in the history)"


def _line(most: int) -> BeforeValidator:
    """One line of text, cut where it is too long; null is none."""

    def line(value: object) -> object:
        if value is None:
            return ""
        return " ".join(value.split())[:most] if isinstance(value, str) else value

    return BeforeValidator(line)


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True)


class Switch(_Kept):
    """A topic or route that someone paused or resumed: since when, by whom, and why."""

    name: Annotated[str, _line(250), Field(min_length=1)]
    since: datetime
    by: Annotated[str, _line(200)] = ""
    because: Annotated[str, _line(500)] = ""


class Names(_Kept):
    """The topics and routes that the bridges have; topics may be patterns."""

    topics: tuple[str, ...]
    routes: tuple[str, ...]

    def kind(self, name: str) -> str:
        """What `name` names: topic, route, topic and route, or unknown."""
        is_topic = any(name == one or (is_pattern(one) and matches(one, name)) for one in self.topics)
        kinds = {"topic": is_topic, "route": name in self.routes}
        return " and ".join(kind for kind, is_one in kinds.items() if is_one) or "unknown"


NO_NAMES = Names(topics=(), routes=())


class State(_Kept):
    """All that the switchboard keeps; `note` says what it could not do last."""

    paused: tuple[Switch, ...] = ()
    resumed: tuple[Switch, ...] = ()
    names: Names = NO_NAMES
    note: str = ""


class Paused(Switch):
    """One that is paused now."""

    kind: str


class Status(_Kept):
    """What the query `status` answers."""

    paused: Sequence[Paused]
    resumed_lately: Sequence[Switch]
    note: str


@workflow.defn
class Switchboard:
    """Keeps what is paused until someone resumes it; never ends by itself."""

    @workflow.init
    def __init__(self, state: State) -> None:
        """Begin with `state`, which is what the run before knew."""
        self._state = state
        self._show()

    @workflow.run
    async def run(self, state: State) -> None:  # noqa: ARG002 - `__init__` took it
        """Listen to signals."""
        await workflow.wait_condition(lambda: workflow.info().is_continue_as_new_suggested())
        # The memo, too: without it the new run would have the one that the first began with.
        workflow.continue_as_new(self._state, memo=memo_of(self._state))

    # Varargs of Any, since people send these: with types, the SDK would drop what it cannot read
    # without a word, and fail the workflow's task for ever where there is no argument or a second one.

    @workflow.signal(description='Pause a topic or a route: "NAME" or {"name": …, "because": …, "by": …}')
    def pause(self, *told: Any) -> None:
        """Pause a topic or a route; one that is paused already gets the new reason."""
        self._take(told, lambda said: self._paused(_switch(said)))

    @workflow.signal(description='Resume a topic or a route: "NAME" or {"name": …, "because": …, "by": …}')
    def resume(self, *told: Any) -> None:
        """Resume a topic or a route."""
        self._take(told, lambda said: self._resumed(_switch(said)))

    @workflow.signal(description="Sent by each bridge when it starts: its topics and routes")
    def routes_loaded(self, *told: Any) -> None:
        """Note what topics and routes there are."""
        self._take(told, lambda said: self._become(names=Names.model_validate(said)))

    @workflow.query(description="What is paused, since when, by whom and why; what was resumed lately")
    def status(self) -> Status:
        """Tell what is paused."""
        state = self._state
        return Status(
            paused=[Paused(kind=state.names.kind(one.name), **dict(one)) for one in state.paused],
            resumed_lately=state.resumed,
            note=state.note,
        )

    def _take(self, told: Sequence[Any], take: Callable[[Any], None]) -> None:
        try:
            take(told[0] if told else None)
        except ValidationError:
            when = _moment(workflow.now())
            self._become(note=f'a signal of {when} was not understood; write {{"name": "…", "because": "…"}}')

    def _paused(self, said: Switch) -> None:
        paused = {one.name: one for one in self._state.paused}
        if len(paused) == MOST_PAUSED and said.name not in paused:
            self._become(note=f"{said.name} is not paused: {MOST_PAUSED} others are")
            return
        before = paused.get(said.name, said)
        still = {"since": before.since, "because": said.because or before.because}
        self._become(paused=[*({**paused, said.name: said.model_copy(update=still)}).values()])

    def _resumed(self, said: Switch) -> None:
        paused = [one for one in self._state.paused if one.name != said.name]
        if len(paused) == len(self._state.paused):
            self._become(note=f"{said.name} was to be resumed, and was not paused")
            return
        others = [one for one in self._state.resumed if one.name != said.name]
        self._become(paused=paused, resumed=[said, *others][:MOST_RESUMED])

    def _become(self, *, note: str = "", **changes: Any) -> None:
        self._state = State(**{**dict(self._state), **changes, "note": note})
        self._show()

    def _show(self) -> None:
        workflow.upsert_memo(memo_of(self._state))
        workflow.set_current_details(_details(self._state))


def memo_of(state: State) -> dict[str, Any]:
    """The memo by which bridges know `state`."""
    return {MEMO: state}


def _switch(said: Any) -> Switch:
    fields = said if isinstance(said, dict) else {"name": said}
    return Switch.model_validate({**fields, "since": workflow.now()})


def _details(state: State) -> str:
    """What people read in the UI."""
    # No tables: the UI shows them without lines, and their cells run into each other.
    parts = [
        "### Paused" if state.paused else "### Nothing is paused",
        "\n".join(_entry(one, f"{state.names.kind(one.name)} ") for one in state.paused),
        "### Resumed lately" if state.resumed else "",
        "\n".join(_entry(one) for one in state.resumed),
        as_text(state.note),
        HOW_TO,
    ]
    return "\n\n".join(part for part in parts if part)


def _entry(one: Switch, kind: str = "") -> str:
    by, because = as_text(one.by) or NOT_SAID, as_text(one.because)
    return f"- {kind}**{as_text(one.name)}**, {_moment(one.since)} UTC by {by}" + (
        f": {because}" if because else ""
    )


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")
