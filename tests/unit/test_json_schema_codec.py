"""JSON that its schema in a registry vouches for, both ways."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import DecodeError
from service.events.json_schema import SchemaMistakeError
from service.events.json_schema_codec import JsonSchemaCodec
from service.events.strict_json import Limits

MARKER = "s3cr3t-Payload"
ORDER = {
    "title": "Order",
    "type": "object",
    "properties": {"id": {"type": "string"}, "lines": {"type": "array", "items": {"type": "integer"}}},
    "required": ["id"],
    "additionalProperties": False,
}


def codec(schema: Any = ORDER, **references: Any) -> JsonSchemaCodec:
    others = {f"{name}.json": json.dumps(one) for name, one in references.items()}
    return JsonSchemaCodec(json.dumps(schema), others)


def test_what_fits_is_decoded_with_the_name_of_its_schema() -> None:
    assert codec().decode(b'{"id": "a"}') == ({"id": "a"}, "Order")
    assert codec({"$id": "http://x/y"}).decode(b"1").schema == "http://x/y"
    assert codec(schema=True).decode(b"1") == (1, "")


@pytest.mark.parametrize(
    ("value", "reason", "position"),
    [
        (b"{}", 'the whole: "id" is a required property', ""),
        (b'{"id": "a", "lines": [1, "s3cr3t-Payload"]}', 'lines.1: it is not of type "integer"', "lines.1"),
        (b'{"id": "a", "s3cr3t-Payload": 1}', "the whole: does not fit `additionalProperties`", ""),
        (b"{", "the value is not JSON", "byte 1"),
        (b'{"id": 18446744073709551616}', "is beyond 64 bits", "byte 7"),
    ],
)
def test_what_does_not_fit_is_refused_without_its_values(value: bytes, reason: str, position: str) -> None:
    with pytest.raises(DecodeError) as caught:
        codec().decode(value)
    assert reason in str(caught.value)
    assert MARKER not in str(caught.value)
    assert caught.value.position == position


@pytest.mark.parametrize("data", [{}, {"id": 1}, {"id": "a", MARKER: 1}, math.nan, {"id": 2**70}, "\ud800"])
def test_data_that_do_not_fit_are_not_written(data: Any) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - of several kinds, all without values
        codec().encode(data)
    assert MARKER not in str(caught.value)


@given(st.fixed_dictionaries({"id": st.text(st.characters(exclude_categories=["Cs"]))}))
def test_what_is_written_is_read_the_same(data: Any) -> None:
    assert codec().decode(codec().encode(data)).data == data


@given(st.binary())
def test_any_bytes_fit_or_are_refused(value: bytes) -> None:
    try:
        codec().decode(value)
    except DecodeError as error:
        assert error.reason  # noqa: PT017 - either is right


@pytest.mark.parametrize("base", [{}, {"$id": "http://shop.example/order.json"}])
def test_a_schema_refers_to_others_by_name(base: dict[str, str]) -> None:
    item = {"type": "object", "properties": {"sku": {"$ref": "sku.json"}}}
    order = {**base, "properties": {"item": {"$ref": "item.json"}}}
    ours = codec(order, item=item, sku={"type": "string"})
    assert ours.decode(b'{"item": {"sku": "a"}}')
    with pytest.raises(DecodeError, match=r"item\.sku"):
        ours.decode(b'{"item": {"sku": 1}}')
    with pytest.raises(SchemaMistakeError):
        codec(order)


@pytest.mark.parametrize("text", ["", "[]", "7", '{"type": "nothing"}', "[" * 100_000])
def test_what_is_no_schema_is_said_to_be_none(text: str) -> None:
    with pytest.raises(SchemaMistakeError):
        JsonSchemaCodec(text, limits=Limits())
