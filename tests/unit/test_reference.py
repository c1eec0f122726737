"""docs/reference.md names all keys and settings, as they are."""

import re
from pathlib import Path

from pydantic import BaseModel

from service.documents.reference import reference
from service.documents.route_schema import models
from service.routing.grammar import RouteFile
from service.settings import PREFIX, Settings

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def test_the_page_in_the_repository_is_up_to_date() -> None:
    assert PAGE.read_text() == reference(), "write it anew: make reference"


def test_each_key_stands_in_it_with_what_it_means() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|.*\| (.*) \|$", reference(), re.MULTILINE)
    assert all(meaning for _, meaning in rows)
    known = {field.alias or name for model in models(RouteFile) for name, field in model.model_fields.items()}
    assert known <= {name for name, _ in rows}


def test_each_setting_stands_in_it_with_what_it_means() -> None:
    def names(model: type[BaseModel], prefix: str) -> list[str]:
        parts = {name: field.annotation for name, field in model.model_fields.items()}
        return [
            full
            for name, kind in parts.items()
            for full in (
                names(kind, f"{prefix}{name.upper()}__")
                if isinstance(kind, type) and issubclass(kind, BaseModel)
                else [f"{prefix}{name.upper()}"]
            )
        ]

    settings = re.findall(r"^\| `(TURNOUT_\w+)` \|.*\| (.*) \|$", reference(), re.MULTILINE)
    assert sorted(name for name, _ in settings) == sorted(names(Settings, PREFIX))
    assert all(meaning for _, meaning in settings)


def test_each_link_of_a_table_leads_to_a_heading() -> None:
    text = reference()
    headings = re.findall(r"^#+ `?([^`\n]+)`?$", text, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9_ -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(links) > 5
    assert set(links) <= anchors
