"""Values of any shape with templates inside: the input of a workflow as it stands in a route."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from service.errors import TurnoutError
from service.expressions import Mistake, MistakesError, Template, Variables

Loc = tuple[str | int, ...]

KEY = "[key]"
"""Ends a place that means a key, not its value; pydantic's own sign."""


class Unknown:
    """Stands for what only an event tells."""


UNKNOWN = Unknown()


class ShapeMistakesError(TurnoutError):
    """Templates in a shape cannot be used.

    Args:
        mistakes: Each with where in the shape its text stands.
    """

    def __init__(self, mistakes: list[tuple[Loc, Mistake]]) -> None:
        super().__init__("; ".join(mistake.problem for _, mistake in mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Shape:
    """Plain JSON in which every text is a template; what is one `${ … }` keeps its type."""

    _form: Any

    @classmethod
    def parse(cls, values: Any, variables: Variables) -> Self:
        """`values` as a shape.

        Raises:
            ShapeMistakesError: All that is wrong in all of its texts.
        """
        mistakes: list[tuple[Loc, Mistake]] = []

        def form(value: Any, loc: Loc) -> Any:
            if isinstance(value, dict):
                mistakes.extend(_expressions_in_keys(value, loc))
                return {key: form(item, (*loc, key)) for key, item in value.items()}
            if isinstance(value, list):
                return [form(item, (*loc, index)) for index, item in enumerate(value)]
            if not isinstance(value, str):
                return value
            try:
                template = Template.parse(value, variables)
            except MistakesError as error:
                mistakes.extend((loc, mistake) for mistake in error.mistakes)
                return value
            return template if template.literal is None else template.literal

        shape = cls(form(values, ()))
        if mistakes:
            raise ShapeMistakesError(mistakes)
        return shape

    def value(self, variables: Mapping[str, Any]) -> Any:
        """Its value for one event.

        Raises:
            ExpressionError: A template in it has no value.
        """
        return _filled(self._form, variables)

    def outline(self) -> Any:
        """Its value as far as it is known before any event: UNKNOWN stands where a template does."""
        return _outlined(self._form)

    def place_of(self, source: str) -> Loc | None:
        """Where the value of the expression `source` stands: `()` is all of it, `(n,)` an item; else None."""
        if _is_expression(self._form, source):
            return ()
        items = enumerate(self._form) if isinstance(self._form, list) else ()
        return next(((index,) for index, item in items if _is_expression(item, source)), None)


def _is_expression(form: Any, source: str) -> bool:
    return (
        isinstance(form, Template)
        and not form.literals
        and [expression.strip() for expression in form.expressions] == [source]
    )


def _filled(form: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(form, Template):
        return form.value(variables)
    if isinstance(form, dict):
        return {key: _filled(item, variables) for key, item in form.items()}
    if isinstance(form, list):
        return [_filled(item, variables) for item in form]
    return form


def _outlined(form: Any) -> Any:
    if isinstance(form, Template):
        return UNKNOWN
    if isinstance(form, dict):
        return {key: _outlined(item) for key, item in form.items()}
    if isinstance(form, list):
        return [_outlined(item) for item in form]
    return form


def _expressions_in_keys(value: dict[str, Any], loc: Loc) -> Iterator[tuple[Loc, Mistake]]:
    mistake = Mistake(0, "a key cannot hold an expression", "build the map in CEL: ${{…: …}}")
    return (((*loc, key, KEY), mistake) for key in value if "${" in key)
