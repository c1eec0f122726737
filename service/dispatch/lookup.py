"""Which workflow a command is for, where it names search attributes instead of an id.

Asked of visibility, which lags by a second or so. Every workflow that it still knows counts, closed ones too:
so whoever asks again finds the same one, or several, and never another one instead.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.client import Client, WorkflowExecution

from service.errors import RejectedError
from service.routing.lookups import STATUS, SYSTEM
from service.temporal.client import AttributeTypes

RPC_TIMEOUT = timedelta(seconds=10)
PAGE = 10


def quoted(text: str) -> str:
    """A text in a query."""
    return "'" + text.replace("'", "''") + "'"


def _boolean(text: str) -> str:
    if text not in {"true", "false"}:
        raise ValueError(text)
    return text


_LITERALS: Mapping["IndexedValueType.ValueType", Callable[[str], str]] = {
    IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD: quoted,
    IndexedValueType.INDEXED_VALUE_TYPE_INT: lambda text: str(int(text)),
    IndexedValueType.INDEXED_VALUE_TYPE_BOOL: _boolean,
}
"""How a value is written in a query. Text and lists of keywords match by words, and times and fractions have
many texts: they have no equality that would be of use."""


def cannot_be_looked_for(registered: AttributeTypes, name: str) -> bool:
    """Whether the search attribute of that name is of a type without equality."""
    return registered[name] not in _LITERALS


class Lookup:
    """Looks for workflows.

    Args:
        registered: The types of the search attributes that are looked for.
    """

    def __init__(self, registered: AttributeTypes) -> None:
        self._registered = registered

    def query(self, where: Mapping[str, str]) -> str:
        """What visibility is asked.

        Raises:
            RejectedError: A value is not of the type that its attribute is registered with.
        """
        terms = [f"`{name}` = {self._literal(name, text)}" for name, text in where.items()]
        # Earlier runs of one workflow, which may be thousands.
        return " AND ".join([*terms, f"{STATUS} != 'ContinuedAsNew'"])

    async def ids(self, client: Client, where: Mapping[str, str]) -> list[str]:
        """The ids of the workflows that fit, two at most.

        Raises:
            RejectedError: See `query`.
            RPCError: Visibility does not answer.
        """
        ids: list[str] = []
        async for found in client.list_workflows(self.query(where), page_size=PAGE, rpc_timeout=RPC_TIMEOUT):
            if found.id not in ids and self._fits(found, where):
                ids.append(found.id)
            if len(ids) == 2:
                break
        return ids

    def _literal(self, name: str, text: str) -> str:
        kind = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD if name in SYSTEM else self._registered[name]
        try:
            return _LITERALS[kind](text)
        except ValueError:
            expected = IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").lower()
            raise RejectedError(
                f"search attribute {name} is registered as {expected}; the value is not"
            ) from None

    def _fits(self, found: WorkflowExecution, where: Mapping[str, str]) -> bool:
        """Whether it has these very values: databases compare in ways of their own, some without case."""
        has: dict[str, Any] = {pair.key.name: pair.value for pair in found.typed_search_attributes}
        has["WorkflowType"], has[STATUS] = found.workflow_type, where.get(STATUS)
        return all(self._literal(name, text) == self._written(name, has) for name, text in where.items())

    def _written(self, name: str, has: Mapping[str, Any]) -> str | None:
        value = has.get(name)
        if value is None:
            return None
        return self._literal(name, str(value).lower() if isinstance(value, bool) else str(value))
