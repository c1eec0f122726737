"""What the grammar refuses, as findings that name the place and the cure."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from service.errors import Finding
from service.expressions import Mistake
from service.routing.grammar import LATER, RouteFile
from service.routing.reading import Document, Loc
from service.routing.shapes import KEY

_WORDS: Mapping[str, tuple[str, str]] = {
    "string_type": ("must be text", "put it in quotes"),
    "dict_type": ("must be a map", ""),
    "model_type": ("must be a map", ""),
    "list_type": ("must be a list", "start each item with - "),
    "int_type": ("must be a whole number", ""),
    "float_type": ("must be a number", ""),
    "bool_type": ("must be true or false", ""),
}


def findings_of(
    document: Document, error: ValidationError, grammar: type[BaseModel] = RouteFile, at: Loc = ()
) -> Iterator[Finding]:
    """Everything that `grammar` refused in `document`, or in the part of it that stands at `at`."""
    for detail in error.errors(include_url=False, include_input=False):
        loc = (*at, *detail["loc"])
        context = detail.get("ctx", {})
        match detail["type"]:
            case "extra_forbidden":
                yield _unknown_key(document, loc, _known_keys(grammar, detail["loc"][:-1]))
            case "missing":
                yield document.at_value("TR202", loc[:-1], f"{_where(loc[:-1])}'{loc[-1]}' is missing")
            case "mistakes":
                for below, mistake in context["mistakes"]:
                    yield _mistake(document, (*loc, *below), mistake)
            case "refused":
                yield _refused(document, loc, context["problem"], context["cure"])
            case kind:
                problem, cure = _WORDS.get(kind, (_plain_words(detail["msg"]), ""))
                yield document.at_value("TR203", loc, f"{_subject(loc)} {problem}", cure)


def _refused(document: Document, loc: Loc, problem: str, cure: str) -> Finding:
    if problem.startswith(LATER):
        return document.at_value("TR204", loc, problem, cure)
    if loc[-1:] == (KEY,):
        return document.at_key("TR203", loc[:-1], f"{_subject(loc[:-1])} {problem}", cure)
    return document.at_value("TR203", loc, f"{_subject(loc)} {problem}", cure)


def _unknown_key(document: Document, loc: Loc, known: list[str]) -> Finding:
    name = str(loc[-1])
    close = difflib.get_close_matches(name, known, 1)
    cure = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
    return document.at_key("TR201", loc, f"unknown key '{name}'", cure)


def _mistake(document: Document, loc: Loc, mistake: Mistake) -> Finding:
    cure = mistake.cure
    code = "TR206" if mistake.too_much else "TR205"
    if loc[-1:] == (KEY,):
        return document.at_key("TR205", loc[:-1], f"{_subject(loc[:-1])}: {mistake.problem}", cure)
    if mistake.unfinished and (quoted := document.line_quoted(loc)):
        cure = f"` #` starts a YAML comment, which may have cut it; write {quoted}"
    problem = f"{_subject(loc)}: {mistake.problem}"
    return document.at_value(code, loc, problem, cure, offset=mistake.offset)


def _subject(loc: Loc) -> str:
    names = [part for part in loc if isinstance(part, str)]
    if not names:
        return "the file"
    return names[-1] if isinstance(loc[-1], str) else f"an entry of {names[-1]}"


def _where(loc: Loc) -> str:
    return f"in {_subject(loc)}, " if loc else ""


def _plain_words(message: str) -> str:
    return re.sub(r"^Input should be ", "must be ", message)


def _known_keys(grammar: type[BaseModel], loc: Loc) -> list[str]:
    model: Any = grammar
    for part in loc:
        model = _below(model, part)
    return [field.alias or name for name, field in model.model_fields.items()] if _is_model(model) else []


def _below(model: Any, part: str | int) -> Any:
    """The model of a key's value, of a list's items, of a map's values."""
    if not _is_model(model):
        return model
    for name, field in model.model_fields.items():
        if part == (field.alias or name):
            return next(iter(models_in(field.annotation)), None)
    return model


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a value of this type may be, or hold."""
    if _is_model(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
