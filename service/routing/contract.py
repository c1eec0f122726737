"""What a route itself says of its input: a JSON Schema, for workflows whose types we do not have."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

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


class Misfit(NamedTuple):
    """Why an input does not fit, and the path of the first field that does not; `""` if it is the whole."""

    problem: str
    position: str = ""


class Problem(NamedTuple):
    """What is wrong at one place: keys and indexes into the value, and keywords into the schema."""

    place: tuple[str | int, ...]
    keywords: tuple[str | int, ...]
    text: str

    def __str__(self) -> str:
        return f"{path_of(self.place) or 'the whole'}: {self.text}"


class Schema:
    """A JSON Schema, of the draft that its `$schema` names, or 2020-12.

    Nothing is fetched: a `$ref` stays within it. Checking takes bounded time, whatever the data. `written` is
    the schema as it was given.

    Raises:
        SchemaMistakeError: It is none, or refers to what it does not hold.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.written = schema
        try:
            self._validator = jsonschema_rs.validator_for(
                dict(schema),
                mask="it",
                offline=True,
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


class Part(StrEnum):
    """What of a command's arguments a schema is of."""

    INPUT = "input"
    ARGS = "args"
    ITEMS = "items"


@dataclass(frozen=True, slots=True)
class Contract:
    """The schema of one part: the only argument, the list of all, or each item of a batch."""

    schema: Schema
    part: Part

    def misfit(self, args: Sequence[Any]) -> Misfit | None:
        """What is wrong with `args`, if anything is; the position is within the part."""
        match self.part:
            case Part.INPUT:
                problems = list(self.schema.problems(args[0]))
            case Part.ARGS:
                problems = list(self.schema.problems(list(args)))
            case Part.ITEMS:
                problems = [problem for item in args[0] for problem in self.schema.problems(item)]
        if not problems:
            return None
        return Misfit("; ".join(map(str, problems[:MOST_PROBLEMS])), path_of(problems[0].place))


def path_of(place: Sequence[int | str]) -> str:
    """A place in data as people read it: `lines.0.sku`."""
    return ".".join(map(str, place))
