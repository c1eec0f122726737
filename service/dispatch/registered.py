"""Search attributes as they must be registered in each namespace: which lack, which are of another type."""

from collections.abc import Iterable, Iterator, Sequence

from temporalio.api.enums.v1 import IndexedValueType

from service.dispatch.lookup import cannot_be_looked_for
from service.temporal.client import AttributeTypes

KEYWORD = "Keyword"


def lacking(registered: AttributeTypes, names: Iterable[str]) -> Sequence[str]:
    """Those of `names` that nobody has registered, each once."""
    return [name for name in dict.fromkeys(names) if name not in registered]


def no_keywords(registered: AttributeTypes, names: Iterable[str]) -> Sequence[str]:
    """Those of `names` that are registered as something else than a keyword."""
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    return [name for name in names if registered.get(name, keyword) != keyword]


def without_equality(registered: AttributeTypes, names: Iterable[str]) -> Sequence[str]:
    """Those of `names` that are registered, and of a type that no workflow can be looked for by."""
    return sorted(name for name in names if name in registered and cannot_be_looked_for(registered, name))


def type_name(kind: "IndexedValueType.ValueType") -> str:
    """The type as the commands of Temporal call it: `Keyword`, `KeywordList`."""
    return IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").title().replace("_", "")


def types_by_name() -> dict[str, "IndexedValueType.ValueType"]:
    """All types by the names that the commands of Temporal call them."""
    return {
        type_name(kind): kind
        for kind in IndexedValueType.values()
        if kind != IndexedValueType.INDEXED_VALUE_TYPE_UNSPECIFIED
    }


def create_command(namespace: str, name: str, kind: str = KEYWORD) -> str:
    """The command that registers the search attribute `name`."""
    return f"temporal operator search-attribute create -n {namespace} --name {name} --type {kind}"


def create_commands(namespace: str, names: Iterable[str], keywords: Iterable[str]) -> Iterator[str]:
    """The commands that register `names`; the type of those that are not in `keywords` only people know."""
    ours = set(keywords)
    for name in names:
        yield create_command(namespace, name, KEYWORD if name in ours else "TYPE")
