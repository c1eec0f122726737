"""What was said to workflows by any released version is understood by this one.

Events, parked commands and histories outlive a release. A file `VERSION/…/MODULE.CLASS.json` holds the
fields that were required and a sample; those of released versions are never changed.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

RELEASED = sorted(Path(__file__).parent.glob("*/**/*.json"))


def complaints(model: type[BaseModel], required: list[str], sample: dict[str, Any]) -> list[str]:
    """Why what `sample` shows, of which `required` had to be there, is no longer understood."""
    found = [f"{name} is gone" for name in sample if name not in model.model_fields]
    now = {name for name, field in model.model_fields.items() if field.is_required()}
    found += [f"{name} has no default" for name in sorted(now - set(required))]
    if not model.model_config.get("frozen"):
        found.append("it is not frozen")
    if found:
        return found
    try:
        read = model.model_validate_json(json.dumps({**sample, "of a later release": 1}))
        model.model_validate_json(json.dumps({name: sample[name] for name in required}))
    except ValueError as error:
        return [str(error)]
    now_read = read.model_dump(mode="json")
    return [f"{name} is read as something else" for name, value in sample.items() if now_read[name] != value]


def named(path: Path) -> str:
    return f"{path.relative_to(Path(__file__).parent).parts[0]} {path.stem}"


@pytest.mark.parametrize("path", RELEASED, ids=named)
def test_what_a_released_version_said_is_understood(path: Path) -> None:
    module, _, name = path.stem.rpartition(".")
    model = getattr(importlib.import_module(module), name)
    assert not complaints(model, **json.loads(path.read_text()))


def test_there_are_samples() -> None:
    assert len(RELEASED) >= 5


class Before(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    cents: int = 0


class Extended(Before):
    note: str = ""


class Demanding(Before):
    note: str


class Renamed(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    pence: int = 0


class Stricter(Before):
    cents: int


class Retyped(Before):
    cents: str = ""  # type: ignore[assignment]


class Closed(Before):
    model_config = ConfigDict(extra="forbid")


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (Before, 0),
        (Extended, 0),
        (Demanding, 1),
        (Renamed, 1),
        (Stricter, 1),
        (Closed, 1),
        (Retyped, 1),
    ],
)
def test_a_contract_may_be_extended_and_nothing_else(model: type[BaseModel], found: int) -> None:
    assert len(complaints(model, required=["id"], sample={"id": "A-1", "cents": 7})) == found
