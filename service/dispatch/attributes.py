"""Search attributes in the type that the namespace has them registered with."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.common import SearchAttributeKey, SearchAttributePair

from service.errors import RejectedError
from service.routing.lookups import KEYWORD_CHARACTERS


def typed_pair(name: str, kind: "IndexedValueType.ValueType", value: Any) -> SearchAttributePair[Any]:
    """The value in the type that the attribute is registered with.

    Raises:
        RejectedError: The value does not fit that type.
    """
    try:
        return _PAIRS[kind](name, value)
    except (TypeError, ValueError, OverflowError) as error:
        expected = IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").lower()
        raise RejectedError(
            f"search attribute {name} is registered as {expected}; the value is not"
        ) from error


def keyword_pair(name: str, value: str) -> SearchAttributePair[Any]:
    """A keyword that holds `value` as far as one can; see `keyword_text`."""
    return SearchAttributePair(_keyword_key(name), keyword_text(value))


def keyword_text(value: str) -> str:
    """`value`, cut to what fits and without what cannot be shown."""
    text = value if value.isprintable() else "".join(c for c in value if c.isprintable())
    return text[:KEYWORD_CHARACTERS]


_keyword_key = cache(SearchAttributeKey.for_keyword)


def _typed(kind: type | tuple[type, ...], value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(type(value).__name__)
    return value


_PAIRS: Mapping["IndexedValueType.ValueType", Callable[[str, Any], SearchAttributePair[Any]]] = {
    IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD: lambda n, v: keyword_pair(n, _typed(str, v)),
    IndexedValueType.INDEXED_VALUE_TYPE_TEXT: lambda n, v: SearchAttributePair(
        SearchAttributeKey.for_text(n), _typed(str, v).replace("\0", "")
    ),
    IndexedValueType.INDEXED_VALUE_TYPE_INT: lambda n, v: SearchAttributePair(
        SearchAttributeKey.for_int(n), _whole(v)
    ),
    IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE: lambda n, v: SearchAttributePair(
        SearchAttributeKey.for_float(n), float(_typed((int, float), v))
    ),
    IndexedValueType.INDEXED_VALUE_TYPE_BOOL: lambda n, v: SearchAttributePair(
        SearchAttributeKey.for_bool(n), _typed(bool, v)
    ),
    IndexedValueType.INDEXED_VALUE_TYPE_DATETIME: lambda n, v: SearchAttributePair(
        SearchAttributeKey.for_datetime(n), _moment(_typed(str, v))
    ),
    IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST: lambda n, v: SearchAttributePair(
        SearchAttributeKey.for_keyword_list(n), _strings(v)
    ),
}


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)


def _whole(value: Any) -> int:
    number: int = _typed(int, value)
    if number.bit_length() > 63 and number != -(1 << 63):
        raise ValueError("more than 64 bits")
    return number


def _strings(value: Any) -> Sequence[str]:
    return [keyword_text(_typed(str, item)) for item in _typed(list, value)]
