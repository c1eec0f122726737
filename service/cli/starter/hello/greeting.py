"""The workflow: what is done, in which order, whatever fails on the way."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from workflows.results import Results

    from .words import words_for


class Visitor(BaseModel):
    """The data of event `hello.visitor.came`; the route's input is checked against it."""

    name: str


@workflow.defn
class Greeting:
    """Greets one visitor, and tells the topic `hello.greetings`."""

    @workflow.init
    def __init__(self, visitor: Visitor) -> None:
        self._results = Results("hello.greetings", source="hello")
        self._status = f"looks for words for {visitor.name}"

    @workflow.run
    async def run(self, visitor: Visitor) -> None:
        """Find the words, then publish them."""
        text = await workflow.execute_activity(
            words_for,
            visitor.name,
            start_to_close_timeout=timedelta(seconds=10),
            summary=f"words for {visitor.name}",
        )
        await self._results.publish("hello.greeted", visitor.name, {"text": text})
        self._status = f"has greeted {visitor.name}"

    @workflow.query(description="What the greeting is at.")
    def status(self) -> str:
        """Where it is on its way, in words for people."""
        return self._status
