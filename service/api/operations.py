"""What can be called over HTTP: one row each, from which requests are routed and the document is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from service.api import models
from service.api.refusals import Kind

ALWAYS = (
    Kind.INVALID_ARGUMENT,
    Kind.FORBIDDEN,
    Kind.TOO_LARGE,
    Kind.BUSY,
    Kind.TIME_IS_UP,
    Kind.UNAVAILABLE,
    Kind.DEFECT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One thing that can be called.

    Attributes:
        name: Its name, by which the handler has it.
        method: The method, in capitals.
        path: The path with the names of its parts in braces.
        asked: What is asked, made of path, query and body.
        body: What the body is; None where there is none.
        answer: What is answered.
        says: What it does, and below that more of it.
        created: Whether a first call is answered 201 in the place of 200.
        key: Whether it takes an idempotency key.
        query: Parts of `asked` that stand in the query.
        kinds: What it is refused for, beyond what all are.
    """

    name: str
    method: str = "POST"
    path: str
    asked: type[BaseModel] | None
    body: type[BaseModel] | None = None
    answer: type[BaseModel]
    says: str
    created: bool = False
    key: bool = False
    query: Sequence[str] = ("namespace",)
    kinds: Sequence[Kind] = ()


WORKFLOW = "/v1/workflows/{workflow_id}"

OPERATIONS: Sequence[Operation] = (
    Operation(
        name="publish",
        path="/v1/topics/{topic}/events",
        asked=None,
        answer=models.Published,
        query=(),
        says="""Have an event carried out by the routes of a topic

        The event is a CloudEvent by the HTTP binding, in binary mode (attributes are headers `ce-…`) or
        structured mode; no batch. It takes effect once, however often it is published, and also if it lies in
        the topic. What would become a dead letter is refused with 422, and nothing of it is kept.""",
        kinds=(Kind.NOT_FOUND, Kind.REFUSED, Kind.UNSUPPORTED),
    ),
    Operation(
        name="start",
        path="/v1/workflows",
        asked=models.Start,
        body=models.StartBody,
        answer=models.Taken,
        query=(),
        created=True,
        key=True,
        says="""Start a workflow

        Its id is good for one start, also after it has closed.""",
        kinds=(Kind.ALREADY_EXISTS, Kind.UNSUPPORTED),
    ),
    Operation(
        name="describe",
        method="GET",
        path=WORKFLOW,
        asked=models.Describe,
        answer=models.Described,
        says="Describe a workflow",
        kinds=(Kind.NOT_FOUND,),
    ),
    Operation(
        name="signal",
        path=WORKFLOW + "/signals/{name}",
        asked=models.Signal,
        body=models.SignalBody,
        answer=models.Taken,
        key=True,
        says="Send a signal to a workflow that runs",
        kinds=(Kind.NOT_FOUND, Kind.CLOSED, Kind.UNSUPPORTED),
    ),
    Operation(
        name="update",
        path=WORKFLOW + "/updates/{name}",
        asked=models.Update,
        body=models.UpdateBody,
        answer=models.Updated,
        key=True,
        says="Have a workflow carry out an update, and wait for what it returns",
        kinds=(Kind.NOT_FOUND, Kind.CLOSED, Kind.REFUSED, Kind.UNSUPPORTED, Kind.NOT_JSON),
    ),
    Operation(
        name="query",
        path=WORKFLOW + "/queries/{name}",
        asked=models.Query,
        body=models.QueryBody,
        answer=models.Answered,
        says="Ask a workflow for what it knows; changes nothing",
        kinds=(Kind.NOT_FOUND, Kind.REFUSED, Kind.UNSUPPORTED, Kind.NOT_JSON),
    ),
    Operation(
        name="cancel",
        path=WORKFLOW + "/cancel",
        asked=models.Cancel,
        body=models.CancelBody,
        answer=models.Taken,
        key=True,
        says="Ask a workflow to end itself",
        kinds=(Kind.NOT_FOUND, Kind.CLOSED, Kind.UNSUPPORTED),
    ),
    Operation(
        name="result",
        method="GET",
        path=WORKFLOW + "/result",
        asked=models.Result,
        answer=models.Ended,
        query=("namespace", "wait"),
        says="""Ask how a workflow ended, and wait for it

        A workflow that runs still after `wait` is answered as running; that is no error.""",
        kinds=(Kind.NOT_FOUND, Kind.NOT_JSON),
    ),
)

NAMED_IN_PATHS: Mapping[str, str] = {
    "topic": "The topic, which a route has to be from.",
    "workflow_id": "The id of the workflow, as one segment: each `/` in it is written `%2F`.",
    "name": "The name of the signal, the update or the query, as one segment.",
}

NAMED_IN_QUERIES: Mapping[str, str] = {
    "namespace": "The namespace of the workflow; absent, the one of the service.",
    "wait": "How long to wait for the end; absent, not at all.",
    "time_limit": "How long the call may take at most, like `5s`; the service has a limit of its own.",
}
