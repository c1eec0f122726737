"""What workflows return becomes JSON, or a refusal that does not repeat it."""

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.contrib.pydantic import pydantic_data_converter

from service.api.asking import Workflows
from service.api.models import Answered, Ended, Query, Result, Update, Updated
from service.api.refusals import Kind, Refusal
from service.dispatch.links import Links
from workflows.encryption import NotReadable

QUERY = Query(workflow_id="w", name="q")


class Returning:
    """A client whose workflows return `payload`, or raise it, whatever they are asked."""

    data_converter = pydantic_data_converter

    def __init__(self, payload: Payload | Exception) -> None:
        self.payload = payload

    def get_workflow_handle(self, workflow_id: str, *, result_type: type) -> "Returning":
        assert (workflow_id, result_type) == ("w", RawValue)
        return self

    async def query(self, name: str, *, args: list[Any], result_type: type) -> RawValue:
        assert (name, args, result_type) == ("q", [], RawValue)
        return await self.result()

    async def execute_update(self, name: str, *, args: list[Any], id: str, result_type: type) -> RawValue:  # noqa: A002
        assert (name, args, id, result_type) == ("u", [], "1", RawValue)
        return await self.result()

    async def describe(self, **_: Any) -> "Returning":
        return self

    close_time = 1

    async def result(self) -> RawValue:
        if isinstance(self.payload, Exception):
            raise self.payload
        return RawValue(self.payload)


def returning(payload: Payload | Exception) -> Workflows:
    client: Any = Returning(payload)
    return Workflows(lambda _: client, Links("", ""))


def said(text: bytes, encoding: bytes = b"json/plain") -> Payload:
    return Payload(metadata={"encoding": encoding}, data=text)


async def test_json_comes_through() -> None:
    workflows = returning(said(b'{"a": [1180591620717411303424, null, "\xc3\xa4"]}'))
    value = {"a": [2**70, None, "ä"]}
    assert await workflows.query(QUERY) == Answered(result=value)
    update = await workflows.update(Update(workflow_id="w", name="u"), "1")
    assert update == Updated(result=value, update_id="1")
    ended = await workflows.result(Result(workflow_id="w"))
    assert ended == Ended(status="completed", result=value, failure=None)


@pytest.mark.parametrize(
    "payload",
    [
        said(b"[NaN]"),
        said(b"-Infinity"),
        said(b'"s3cret \\ud800"'),
        said(b"{s3cret"),
        said(b"s3cret", b"binary/plain"),
        said(b"s3cret", b"binary/of-another-language"),
        Payload(metadata={"encoding": b"json/protobuf", "messageType": b"s3cret"}, data=b"{}"),
    ],
)
async def test_what_is_no_json_is_said_to_be_none_and_not_repeated(payload: Payload) -> None:
    workflows = returning(payload)
    for asking in (
        workflows.query(QUERY),
        workflows.update(Update(workflow_id="w", name="u"), "1"),
        workflows.result(Result(workflow_id="w")),
    ):
        with pytest.raises(Refusal) as error:
            await asking
        assert error.value.kind is Kind.NOT_JSON
        assert "s3cret" not in str(error.value)
        assert error.value.__suppress_context__


async def test_what_is_encrypted_with_a_key_that_is_not_here_waits_for_it() -> None:
    with pytest.raises(Refusal) as error:
        await returning(NotReadable("a payload is encrypted with key 'k'; add it")).query(QUERY)
    assert error.value.kind is Kind.UNAVAILABLE
    assert "add it" in str(error.value)
