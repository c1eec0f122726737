"""JSON Schema: whether data fits one, told without the data's values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urljoin

import jsonschema_rs

from service.errors import TurnoutError

MOST_PROBLEMS = 5
BACKTRACKS = 10_000
"""Of one match of a `pattern` with lookaround, which else may take for ever; others take linear time. What
needs more does not fit."""

WITH_PAYLOADS = frozenset(
    {"additionalItems", "additionalProperties", "propertyNames", "unevaluatedProperties"}
)
"""Keywords whose message names keys of the data, which the mask does not cover."""


class SchemaMistakeError(TurnoutError):
    """It is no JSON Schema that can be used."""


class Problem(NamedTuple):
    """What is wrong at one place: keys and indexes into the value, and keywords into the schema."""

    place: tuple[str | int, ...]
    keywords: tuple[str | int, ...]
    text: str

    def __str__(self) -> str:
        return f"{path_of(self.place) or 'the whole'}: {self.text}"


class Schema:
    """A JSON Schema, of the draft that its `$schema` names, or 2020-12.

    Nothing is fetched: a `$ref` stays within it and `references`. Checking takes bounded time, whatever the
    data. `written` is the schema as it was given.

    Args:
        schema: The schema.
        references: What it may refer to, by name; a name is meant as it stands, and from its `$id`.

    Raises:
        SchemaMistakeError: It is none, or refers to what it does not hold.
    """

    def __init__(
        self, schema: Mapping[str, Any] | bool, references: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.written: Mapping[str, Any] = (
            schema if isinstance(schema, Mapping) else {} if schema else {"not": {}}
        )
        try:
            self._validator = jsonschema_rs.validator_for(
                schema if isinstance(schema, bool) else dict(schema),
                mask="it",
                offline=True,
                registry=_registry(schema, references) if references else None,
                pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=BACKTRACKS),
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            raise SchemaMistakeError(str(error).splitlines()[0]) from error

    def __repr__(self) -> str:
        return f"Schema({self.written!r})"

    def problems(self, value: Any) -> Iterator[Problem]:
        """All that is wrong with `value`, without any of its values."""
        try:
            if self._validator.is_valid(value):
                return
            for error in self._validator.iter_errors(value):
                keyword = str(error.kind.name)
                text = f"does not fit `{keyword}`" if keyword in WITH_PAYLOADS else error.message
                yield Problem(tuple(error.instance_path), tuple(error.schema_path), text)
        except (ValueError, TypeError):
            yield Problem((), (), "is no JSON")


def _registry(
    schema: Mapping[str, Any] | bool, references: Mapping[str, Mapping[str, Any]]
) -> jsonschema_rs.Registry:
    base = schema.get("$id") if isinstance(schema, Mapping) else None
    names = {name: name for name in references}
    if isinstance(base, str):
        names |= {urljoin(base, name): name for name in references}
    return jsonschema_rs.Registry([(uri, dict(references[name])) for uri, name in names.items()])


def path_of(place: Sequence[int | str]) -> str:
    """A place in data as people read it: `lines.0.sku`."""
    return ".".join(map(str, place))
