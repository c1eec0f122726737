"""The JSON Schema of a route file, for editors: all of it comes from the grammar's models.

Never stricter than the loader, so that no route which loads is marked as wrong. What is no matter of
keys and values (CEL, topics of other files, ids) only the loader and `turnout routes lint` know.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import combinations, starmap
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from service.documents.descriptions import descriptions
from service.documents.schemas import Untitled
from service.routing import grammar
from service.routing.consistency import KEYS_OF_TOPICS_READ
from service.routing.entries import ACTIONS
from service.routing.findings import models_in

DIALECT = "https://json-schema.org/draft/2020-12/schema"

ANY_BUT_NULL = ("string", "number", "boolean", "object", "array")


def route_schema() -> dict[str, Any]:
    """The schema of one file, as JSON Schema of draft 2020-12."""
    return {"$schema": DIALECT, "title": "Routes of turnout", **schema_of(grammar.RouteFile)}


def schema_of(root: type[BaseModel]) -> dict[str, Any]:
    """The schema of a map with the keys of `root`; what is below it is in `$defs`, by its model's name."""
    schema = root.model_json_schema(schema_generator=_Generator)
    for model in models(root):
        # One that a validator hides is not there: of its key any value fits.
        own = schema if model is root else schema.get("$defs", {}).get(model.__name__)
        if own:
            _complete(model, own)
    return schema


def models(root: type[BaseModel]) -> Sequence[type[BaseModel]]:
    """`root` and all models below it, each once, in the order in which keys name them."""
    found: list[type[BaseModel]] = [root]
    for field in root.model_fields.values():
        for below in models_in(field.annotation):
            found += [model for model in models(below) if model not in found]
    return found


class _Generator(Untitled):
    """As pydantic does it, but for what only the grammar means: a key that is given is never empty."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """See `grammar.GIVEN`."""
        if schema["function"]["function"] is not grammar.GIVEN.func:
            return super().function_before_schema(schema)
        inner = schema["schema"]
        written = self.generate_inner(inner["schema"] if inner["type"] == "nullable" else inner)
        return written if _is_said(written) else {**written, "type": [*ANY_BUT_NULL]}

    def function_wrap_schema(self, schema: core_schema.WrapValidatorFunctionSchema) -> JsonSchemaValue:
        """What is wrapped takes a map where the wrapper says nothing; the wrapper may take all else."""
        written = super().function_wrap_schema(schema)
        if "json_schema_input_schema" in schema or "$ref" not in written:
            return written
        return {"anyOf": [written, {"type": [kind for kind in (*ANY_BUT_NULL, "null") if kind != "object"]}]}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        """A name that does not fit is refused, not left alone."""
        written = super().dict_schema(schema)
        if patterns := written.pop("patternProperties", None):
            ((pattern, values),) = patterns.items()
            written |= {"propertyNames": {"pattern": pattern}, "additionalProperties": values}
        return written

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """A key that is left out is no null."""
        written = super().default_schema(schema)
        if written.get("default", ...) is None:
            del written["default"]
        return written


def _is_said(written: Mapping[str, Any]) -> bool:
    return not written.keys().isdisjoint({"type", "enum", "const", "anyOf", "oneOf", "$ref"})


def _complete(model: type[BaseModel], own: dict[str, Any]) -> None:
    own.pop("title", None)
    own["description"] = " ".join((model.__doc__ or "").split())
    needed = own.get("required", [])
    own["properties"] = {key: own["properties"][key] for key in (*needed, *own["properties"])}
    means = descriptions(model)
    for name, field in model.model_fields.items():
        key = field.alias or name
        property_ = own["properties"][key]
        if name in means:
            property_["description"] = means[name]
        # A limit of a value that may be absent: pydantic writes it in its own words.
        for ours, theirs in {"ge": "minimum", "le": "maximum"}.items():
            if ours in property_:
                property_[theirs] = property_.pop(ours)
        if field.annotation is type(None):
            del own["properties"][key]  # only there to say where it goes
        elif not _is_said(property_) and (choices := _choices(field.annotation)):
            property_["enum"] = choices
    rules = [rule for base, some in _RULES.items() if issubclass(model, base) for rule in some]
    if rules:
        own["allOf"] = rules


def _choices(annotation: Any) -> list[Any]:
    """The values that a key takes by its declared type, where that is a list of them."""
    if get_origin(annotation) is Literal:
        return [*get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [one.value for one in annotation]
    return []


# --- what goes with what: as consistency.py judges it ---


def _not_both(one: str, other: str) -> dict[str, Any]:
    # Not by `not`: so editors mark the key, and can name it.
    return {"if": {"required": [one]}, "then": {"properties": {other: False}}}


def _needs(key: str, *others: str) -> dict[str, Any]:
    return {"if": {"required": [key]}, "then": {"anyOf": [{"required": [other]} for other in others]}}


def _just_one(keys: Sequence[str]) -> Sequence[dict[str, Any]]:
    return [{"anyOf": [{"required": [key]} for key in keys]}, *starmap(_not_both, combinations(keys, 2))]


def _when_true(key: str, then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {key: {"const": True}}, "required": [key]}, "then": then}


_ARGUMENTS = (_not_both("input", "args"), _needs("contract", "input", "args"))

_RULES: Mapping[type[BaseModel], Sequence[dict[str, Any]]] = {
    grammar.TopicKeys: [
        _when_true("out", {"properties": {key: False}}) for key in sorted(KEYS_OF_TOPICS_READ)
    ],
    grammar.WorkflowKeys: [*_ARGUMENTS, _not_both("start_at", "start_delay")],
    grammar.SignalKeys: [
        *_ARGUMENTS,
        _not_both("missing", "or_start"),
        _when_true("batch", {"required": ["input"]}),
    ],
    grammar.CompleteKeys: _just_one(("result", "error")),
    grammar.RouteKeys: _just_one(ACTIONS),
}
