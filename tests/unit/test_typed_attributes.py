"""Values of search attributes in the type that the namespace has: what the server takes, or a letter."""

from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.api.enums.v1 import IndexedValueType

from service.dispatch.attributes import typed_pair
from service.errors import RejectedError

DATETIME = IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
INT = IndexedValueType.INDEXED_VALUE_TYPE_INT
TEXT = IndexedValueType.INDEXED_VALUE_TYPE_TEXT
KEYWORD_LIST = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00+00:00:30", "2026-01-31T14:30:00.5+02:30"])
def test_a_moment_goes_out_in_utc(text: str) -> None:
    # The server reads no seconds in an offset, and would be asked again for ever.
    moment = typed_pair("Due", DATETIME, text).value
    assert moment == datetime.fromisoformat(text)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (DATETIME, "0001-01-01T00:00:00+23:59"),
        (DATETIME, "2026-01-31T12:00:00"),
        (INT, 1 << 63),
        (INT, -(1 << 63) - 1),
        (INT, True),
        (TEXT, 7),
        (KEYWORD_LIST, ["a", 7]),
    ],
)
def test_what_does_not_fit_makes_a_letter(kind: "IndexedValueType.ValueType", value: Any) -> None:
    with pytest.raises(RejectedError, match="search attribute Due is registered as"):
        typed_pair("Due", kind, value)


def test_numbers_of_64_bits_go_out() -> None:
    assert typed_pair("N", INT, (1 << 63) - 1).value == (1 << 63) - 1


def test_what_no_database_holds_is_left_out() -> None:
    assert typed_pair("T", TEXT, "a\0b\nc").value == "ab\nc"
    assert typed_pair("L", KEYWORD_LIST, ["a" * 300, "\0b"]).value == ["a" * 255, "b"]
