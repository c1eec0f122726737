"""What a field means: the text below it in the source of its model.

pydantic reads these texts, too (`use_attribute_docstrings`), but whenever the model is imported: that took a
second of each start.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import ModuleType

from pydantic import BaseModel


def descriptions(model: type[BaseModel]) -> Mapping[str, str]:
    """The text below each field of `model`, in one line, by the field's name; its bases' fields, too."""
    return {
        name: text
        for base in reversed(model.__mro__)
        if issubclass(base, BaseModel) and base is not BaseModel
        for name, text in _texts_in(sys.modules[base.__module__]).get(base.__name__, {}).items()
    }


@lru_cache
def _texts_in(module: ModuleType) -> Mapping[str, Mapping[str, str]]:
    """By the names of the module's classes, of which it has no two alike."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except OSError:  # pydantic's own, compiled
        return {}
    return {node.name: dict(_texts_of(node)) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def _texts_of(model: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in zip(model.body, model.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, " ".join(text.split())
