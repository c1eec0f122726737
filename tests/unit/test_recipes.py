"""Each page of docs/recipes: its routes load without a finding, its records lead to what it shows."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli import app as app_module
from service.cli.printing import console
from service.dispatch.contracts import Contracts
from service.dispatch.judging import judge_by
from service.dispatch.near_names import near_names
from service.routing.lint import lint
from tests.recipes import FOLDER, INDEX, Recipe, recipes

RECIPES = recipes()
TRIES = [(recipe, n) for recipe in RECIPES.values() for n in range(len(recipe.tries))]
HEADINGS = ["Routes", "Workflow", "Try it", "Limits"]


@pytest.fixture(autouse=True)
def _modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("recipe_"):
            del sys.modules[name]


def workflows_of(recipe: Recipe, folder: Path) -> list[type]:
    module = recipe.module(folder)
    found = [
        one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__
    ]
    return [one for one in found if getattr(one, "__temporal_workflow_definition", None)]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_routes_of_a_page_fit_its_workflow_and_lint_finds_nothing(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text(recipe.routes)
    contracts = Contracts(workflows_of(recipe, tmp_path) if recipe.workflow else [])
    if recipe.workflow:
        assert contracts.workflow_names
    linted = lint([tmp_path / "routes.yaml"], judge=judge_by(contracts), doubters=[near_names(contracts)])
    assert [str(finding) for finding in linted.findings] == []


@pytest.mark.parametrize(("recipe", "number"), TRIES, ids=lambda one: getattr(one, "name", one))
def test_a_record_of_a_page_leads_to_what_the_page_shows(
    recipe: Recipe,
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one = recipe.tries[number]
    (tmp_path / "routes.yaml").write_text(recipe.routes)
    (tmp_path / "record.json").write_text(one.record)
    for name in [name for name in os.environ if name.startswith("TURNOUT_")]:
        monkeypatch.delenv(name)
    codes: list[int] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 300)
    monkeypatch.setattr(app_module, "leave", codes.append)
    monkeypatch.setattr(sys, "argv", shlex.split(one.command))
    app_module.main()
    assert codes == [0]
    assert capsys.readouterr().out == one.answer


def test_the_index_has_all_pages_and_each_page_has_its_parts() -> None:
    linked = re.findall(r"^\| \[[^]]+\]\(([^)]+)\.md\)", INDEX.read_text(), re.MULTILINE)
    assert sorted(linked) == sorted(RECIPES)
    for recipe in RECIPES.values():
        headings = re.findall(r"^## (.+)$", recipe.text, re.MULTILINE)
        assert headings == [one for one in HEADINGS if one != "Workflow" or recipe.workflow]
        assert recipe.tries


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.name)
def test_each_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert link.startswith("https:") or (page.parent / link).exists(), link


def test_a_workflow_of_a_page_is_found() -> None:
    """Else the first test would look at routes alone."""
    assert [one.name for one in RECIPES.values() if one.workflow] == [
        "change-data-capture", "debounce", "delayed-start", "lookup", "repeating-process"
    ]  # fmt: skip
