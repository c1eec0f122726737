"""Asks workflows and about them: what it says when nobody answers is why."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from pydantic import JsonValue, TypeAdapter
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.service import RPCError, RPCStatusCode

from service.api.models import (
    Answered,
    Described,
    Ended,
    Failure,
    Query,
    Result,
    Status,
    Target,
    Update,
    Updated,
)
from service.api.refusals import Kind, Refusal
from service.dispatch.answers import Meaning, meaning_of, said
from service.dispatch.links import Links
from service.temporal.workers import pollers
from workflows.encryption import NotReadable

RPC_TIMEOUT = timedelta(seconds=5)
JSON = TypeAdapter[JsonValue](JsonValue)

WHEN_UP = frozenset({RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED})


class Workflows:
    """Asks workflows; each call waits for as long as it is let.

    Args:
        client: Given a namespace (None: the default one), its client.
        links: Where the Temporal UI is.
    """

    def __init__(self, client: Callable[[str | None], Client], links: Links) -> None:
        self._client = client
        self._links = links

    async def update(self, asked: Update, update_id: str) -> Updated:
        """Have an update carried out, once for each id.

        Raises:
            Refusal: The workflow refuses it or fails at it, is not there, has closed, or does not answer.
        """
        handle = self._handle(asked)
        try:
            with _readable():
                result = await handle.execute_update(
                    asked.name, args=list(asked.args), id=update_id, result_type=RawValue
                )
        except WorkflowUpdateFailedError as error:
            failure = _failure(error.cause)
            raise Refusal(
                Kind.REFUSED, f"update {asked.name} came to nothing: {_in_words(failure)}", failure=failure
            ) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise TimeoutError from error
        except RPCError as error:
            raise _refusal(error) from error
        returned = self._json(asked, result, f"what update {asked.name} returned")
        return Updated(result=returned, update_id=update_id)

    async def query(self, asked: Query) -> Answered:
        """Ask a workflow, also one that has closed.

        Raises:
            Refusal: It has no such query, or fails at it; it is not there, or no worker answers.
        """
        handle = self._handle(asked)
        try:
            with _readable():
                result = await handle.query(asked.name, args=list(asked.args), result_type=RawValue)
        except WorkflowQueryFailedError as error:
            raise Refusal(
                Kind.REFUSED,
                f"query {asked.name} failed: {error.message}",
                failure=Failure(type="", message=error.message),
            ) from error
        except RPCError as error:
            raise _refusal(error) from error
        return Answered(result=self._json(asked, result, f"what query {asked.name} returned"))

    async def describe(self, asked: Target) -> Described:
        """A workflow as it is now.

        Raises:
            Refusal: It is not there, or Temporal does not answer.
        """
        client = self._client(asked.namespace)
        found = await self._found(asked)
        return Described(
            workflow_id=found.id,
            run_id=found.run_id,
            namespace=client.namespace,
            workflow=found.workflow_type,
            task_queue=found.task_queue,
            status=_status(found.status),
            started_at=found.start_time,
            closed_at=found.close_time,
            history_events=found.history_length,
            workers=await self._pollers(client, found.task_queue),
            url=self._links.workflow(client.namespace, found.id),
        )

    async def result(self, asked: Result) -> Ended:
        """How a workflow ended; or that it runs still, once `asked.wait` is over.

        Of one that continued as new it is how the last of its runs ended.

        Raises:
            Refusal: It is not there, or Temporal does not answer.
        """
        found = await self._found(asked)
        if found.close_time is None and not asked.wait:
            return _open(found)
        try:
            async with asyncio.timeout(asked.wait.total_seconds() or RPC_TIMEOUT.total_seconds()):
                with _readable():
                    result = await self._handle(asked).result()
        except TimeoutError:
            return _open(await self._found(asked))
        except WorkflowFailureError as error:
            return Ended(status=_ending(error.cause), result=None, failure=_failure(error.cause))
        except RPCError as error:
            if error.status in WHEN_UP:
                return _open(await self._found(asked))
            raise _refusal(error) from error
        ended = self._json(asked, result, "what the workflow returned")
        return Ended(status="completed", result=ended, failure=None)

    async def why_no_answer(self, asked: Target) -> str:
        """Why a workflow does not answer, as far as that can be seen; empty if it cannot."""
        try:
            async with asyncio.timeout(RPC_TIMEOUT.total_seconds()):
                found = await self.describe(asked)
        except (Refusal, TimeoutError):
            return ""
        if found.workers == 0:
            return f"no worker polls task queue {found.task_queue}; start one, and ask again"
        return ""

    async def _found(self, asked: Target) -> WorkflowExecutionDescription:
        try:
            return await self._handle(asked).describe(rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            raise _refusal(error) from error

    async def _pollers(self, client: Client, task_queue: str) -> int | None:
        try:
            return await pollers(client, task_queue)
        except RPCError:
            return None

    def _handle(self, asked: Target) -> WorkflowHandle[Any, Any]:
        return self._client(asked.namespace).get_workflow_handle(asked.workflow_id, result_type=RawValue)

    def _json(self, asked: Target, raw: RawValue | None, what: str) -> JsonValue:
        if raw is None:
            return None
        converter = self._client(asked.namespace).data_converter.payload_converter
        try:
            value = JSON.validate_python(converter.from_payload(raw.payload))
            # pydantic would tell NaN as null, and fail at a lone surrogate only when all has been done.
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, KeyError, RuntimeError):  # their texts may hold what was returned
            raise Refusal(Kind.NOT_JSON, f"{what} is no JSON", "have it return plain JSON values") from None
        return value


def _open(found: WorkflowExecutionDescription) -> Ended:
    return Ended(status=_status(found.status), result=None, failure=None)


def _status(status: WorkflowExecutionStatus | None) -> Status:
    known: dict[str, Status] = {
        "RUNNING": "running",
        "COMPLETED": "completed",
        "FAILED": "failed",
        "CANCELED": "canceled",
        "TERMINATED": "terminated",
        "CONTINUED_AS_NEW": "continued_as_new",
        "TIMED_OUT": "timed_out",
        "PAUSED": "paused",
    }
    return known.get(status.name if status else "", "unknown")


def _ending(cause: BaseException) -> Status:
    endings: dict[str, Status] = {
        "CancelledError": "canceled",
        "TerminatedError": "terminated",
        "TimeoutError": "timed_out",
    }
    return endings.get(type(cause).__name__, "failed")


def _failure(cause: BaseException) -> Failure:
    kind = cause.type or "" if isinstance(cause, ApplicationError) else ""
    message = cause.message if isinstance(cause, FailureError) else str(cause)
    return Failure(type=kind, message=message)


def _in_words(failure: Failure) -> str:
    return f"{failure.type}: {failure.message}" if failure.type else failure.message


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except NotReadable as error:
        raise Refusal(Kind.UNAVAILABLE, str(error), "call again then") from error


def _refusal(error: RPCError) -> Refusal:
    """What an answer of Temporal's means for who asked about a workflow."""
    match meaning_of(error):
        case Meaning.MISSING:
            return Refusal(Kind.NOT_FOUND, said(error))
        case Meaning.CLOSED:
            return Refusal(Kind.CLOSED, said(error))
        case Meaning.REJECTED:
            return Refusal(Kind.INVALID_ARGUMENT, said(error))
    if error.status in WHEN_UP:
        return Refusal(Kind.TIME_IS_UP, said(error))
    return Refusal(Kind.UNAVAILABLE, said(error), "call again later")
