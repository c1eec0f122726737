"""What a route itself says of its input: a JSON Schema, for workflows whose types we do not have."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from service.events.json_schema import MOST_PROBLEMS, Schema, path_of


class Misfit(NamedTuple):
    """Why an input does not fit, and the path of the first field that does not; `""` if it is the whole."""

    problem: str
    position: str = ""


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
