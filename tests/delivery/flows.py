"""Workflows that tell what they have taken, found by the worker as those of any team are."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from workflows.results import Results


class Note(BaseModel):
    """What a signal tells: the event it is of, and the route it came by."""

    event: str
    route: str


class Notebook(BaseModel):
    """All that was noted so far, and after how many further notes a new run begins.

    The first continue-as-new goes to the task queue `move_to`, if that is named.
    """

    limit: int = 50
    move_to: str = ""
    notes: list[Note] = []


@workflow.defn
class Recorder:
    """Notes what it is told, in order and for ever; that is its whole state."""

    @workflow.init
    def __init__(self, notebook: Notebook) -> None:
        self._notes = notebook.notes
        self._full = len(self._notes) + notebook.limit

    @workflow.run
    async def run(self, notebook: Notebook) -> None:
        await workflow.wait_condition(lambda: len(self._notes) >= self._full)
        workflow.continue_as_new(
            Notebook(limit=notebook.limit, notes=self._notes), task_queue=notebook.move_to or None
        )

    @workflow.signal
    def note(self, note: Note) -> None:
        self._notes.append(note)

    @workflow.signal
    def note_all(self, notes: list[Note]) -> None:
        self._notes += notes

    @workflow.query
    def noted(self) -> list[Note]:
        return self._notes


@workflow.defn
class Once:
    """Publishes one result about the event that started it, and ends."""

    @workflow.run
    async def run(self, event: str, topic: str) -> None:
        await Results(topic, "tests/once").publish("once.done", event, {"event": event})


@workflow.defn
class Lease:
    """Goes on until it is cancelled."""

    @workflow.run
    async def run(self, event: str) -> None:
        await workflow.wait_condition(lambda: False)
