"""Each example of each page is at least what it claims to be: a command, routes, an event, code.

Pages that come anew are found by themselves. What can be run without servers is run; tests/integration runs
the commands of the pages about operation, the routes lab, closings and replay checks.
"""

import ast
import builtins
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from typer.core import TyperGroup

from service.cli.app import make_app
from service.declarations import ByTopic
from service.errors import RecordError
from service.events.decoding import Decoder
from service.events.given import record_in
from service.events.strict_json import Limits
from service.routing.checks import Severity, severity_of
from service.routing.lint import lint
from service.routing.table import load_routes
from service.settings import load_settings
from tests.pages import ROOT, Block, pages

PAGES = {one.name: one for one in pages()}


def blocks(*kinds: str) -> list[Block]:
    return [block for one in PAGES.values() for block in one.blocks(*kinds)]


def test_there_are_examples_of_every_kind() -> None:
    assert {"sh", "yaml", "json", "python", "java"} <= {block.kind for block in blocks()}


@pytest.mark.parametrize("name", PAGES)
def test_every_fence_is_closed(name: str) -> None:
    assert len(re.findall(r"^ *```", PAGES[name].text, re.MULTILINE)) == 2 * len(
        re.findall(r"^( *)```.*?^\1```$", PAGES[name].text, re.MULTILINE | re.DOTALL)
    )


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(name: str) -> None:
    here = ROOT / name
    bare = re.sub(r"^ *```.*?^ *```$|`[^`\n]*`", "", PAGES[name].text, flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", bare):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (here.parent / path).resolve() if path else here
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in {
                _anchor(one) for one in re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            }, link


def _anchor(heading: str) -> str:
    """The link to a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# --- commands ---


def _takes(command: Any, name: str, words: list[str]) -> None:
    """Reads `words` as the command line does, with everything below, and runs nothing."""
    context = command.make_context(name, list(words))
    if isinstance(command, TyperGroup):
        given: list[str] = [*context._protected_args, *context.args]  # noqa: SLF001 - what the group left
        assert given, f"{name} needs a command"
        assert given[0] in command.commands, f"there is no command {name} {given[0]}"
        _takes(command.commands[given[0]], f"{name} {given[0]}", given[1:])


def _paths_in(words: list[str], folder: Path) -> list[Path]:
    """Where each word lies that could be a path: what the page speaks of is not here."""
    named = [word for word in words if re.fullmatch(r"[\w.-]+(?:/[\w.-]+)*", word) and word[0] != "-"]
    return [folder / word for word in named]


def _as_nothing(_path: Path) -> None:
    """It comes by the command."""


def _as_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def _as_folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)


COMMANDS = [
    pytest.param(words, id=f"{name}: {' '.join(words)}"[:80])
    for name, one in PAGES.items()
    for words in one.commands("turnout")
]


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_and_each_of_its_options_is_known_to_the_command_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[typer.BadParameter] = []
    for make in (_as_nothing, _as_file, _as_folder):
        folder = tmp_path / make.__name__
        folder.mkdir()
        monkeypatch.chdir(folder)
        for path in _paths_in(words, folder):
            make(path)
        try:
            return _takes(typer.main.get_command(make_app()), "turnout", words)
        except typer.BadParameter as error:
            refused.append(error)
    raise refused[-1]


def test_every_word_for_make_is_in_the_makefile() -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = [words for one in PAGES.values() for words in one.commands("make")]
    assert said
    assert {word for words in said for word in words if "=" not in word} <= known


def test_every_setting_in_a_command_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for block in blocks("sh") for line in block.text.splitlines()]
    given = [said for line in lines if (said := re.findall(r"\b(TURNOUT_[A-Z0-9_]+)=(\S+)", line))]
    assert given
    for together in given:
        with monkeypatch.context() as environment:
            for setting, value in together:
                environment.setenv(setting, value)
            load_settings(need_group=False)


# --- routes ---

_ACTIONS = frozenset({"start", "signal", "cancel", "complete"})


def _values(block: Block) -> Any:
    return YAML(typ="safe", pure=True).load(block.text)


def _route_file(values: Any) -> dict[str, Any] | None:
    """A whole route file around `values`; None where they are no part of one.

    A page shows as little as it can: a route without its topics, an action without its route.
    """
    match values:
        case {"routes": [*routes], **rest} if all(isinstance(one, dict) and "name" in one for one in routes):
            return _completed(rest | {"routes": routes})
        case [*routes] if routes and all(isinstance(one, dict) and _ACTIONS & one.keys() for one in routes):
            return _completed({"routes": routes})
        case {"topics": {}}:
            read = [name for name, keys in values["topics"].items() if not (keys or {}).get("out")]
            routes = [{"name": name, "from": name, "cancel": {"to": f"{name}/1"}} for name in read]
            return _completed(values | {"routes": routes})
        case {} if _ACTIONS & values.keys():
            return _completed({"routes": [values]})
    return None


def _completed(file: Any) -> dict[str, Any]:
    topics = dict(file.get("topics") or {})
    queues = dict(file.get("task_queues") or {})
    for route in file["routes"]:
        read = route.get("from", "shown")
        for topic in read if isinstance(read, list) else [read]:
            topics.setdefault(topic, {})
        start, signal = route.get("start", {}), route.get("signal", {})
        if "publish_closing" in start:
            topics.setdefault(start["publish_closing"], {"out": True})
        if signal.get("batch"):
            queues.setdefault(signal.get("or_start", {}).get("task_queue", "shown"), {"inbox": True})
    routes = [{"name": "shown", "from": "shown"} | route for route in file["routes"]]
    return {"version": 1, **file, "topics": topics, "task_queues": queues, "routes": routes}


def _contracts(file: Mapping[str, Any]) -> Iterator[str]:
    """The paths of the schemas that it names."""
    for route in file["routes"]:
        for action in (
            route.get("start", {}),
            route.get("signal", {}),
            route.get("signal", {}).get("or_start", {}),
        ):
            if isinstance(action.get("contract"), str):
                yield action["contract"]
    for topic in file.get("topics", {}).values():
        if isinstance(schema := (topic or {}).get("schema"), str):
            yield schema


ROUTES = {str(block): file for block in blocks("yaml") if (file := _route_file(_values(block)))}


def test_routes_are_found_in_the_pages() -> None:
    pages_with_routes = {name.partition(":")[0] for name in ROUTES}
    assert {
        "README.md",
        "docs/routes.md",
        "docs/calls.md",
        "docs/closing.md",
        "docs/patterns.md",
    } <= pages_with_routes


@pytest.mark.parametrize("name", ROUTES)
def test_every_route_that_is_shown_can_be_used(name: str, tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_text(json.dumps(ROUTES[name]))
    for contract in _contracts(ROUTES[name]):
        (tmp_path / contract).parent.mkdir(parents=True, exist_ok=True)
        avro = {"type": "record", "name": "Any", "fields": []}
        schema = avro if contract.endswith(".avsc") else {"type": "object"}
        (tmp_path / contract).write_text(json.dumps(schema))
    # The comments that accept warnings are no values.
    # A page may show topics alone, to which others add the routes.
    wrong = {one.code for one in lint([file]).findings if severity_of(one) is Severity.ERROR}
    assert wrong <= (set() if ROUTES[name]["routes"] else {"TR309"})


# --- events ---


def _is_event(values: Any) -> bool:
    return isinstance(values, dict) and bool({"specversion", "value", "value_base64"} & values.keys())


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_every_piece_of_json_is_json_and_every_event_an_event(block: Block, tmp_path: Path) -> None:
    values = json.loads(block.text)
    if not _is_event(values):
        return
    record = record_in(block.text.encode(), values.get("topic", "shop.orders"))
    own = [
        file
        for name, file in ROUTES.items()
        if name.startswith(f"{block.page}:") and record.topic in ByTopic(file["topics"])
    ]
    routes = tmp_path / "routes.yaml"
    routes.write_text(json.dumps(own[0]) if own else "")
    table = load_routes(routes if own else ROOT / "deploy/demo/routes")
    decoder = Decoder(table.topics.each(lambda topic: topic.format), Limits(), "cluster")
    try:
        decoder.decode(record)
    except RecordError as error:
        reason = error.reason
    else:
        return
    assert reason in PAGES[block.page].text  # shown on purpose: the page says how that letter looks


# --- code ---

_FORMS = (
    "{}",
    "async def shown():\n{}",
    "def shown():\n  try:\n    ...\n{}",
    "async def shown():\n  try:\n    ...\n{}",
)


def _tree(text: str) -> ast.Module:
    """A module, or what stands somewhere within a function."""
    for form in _FORMS:
        indent = "" if form == "{}" else "  "
        source = form.format("".join(f"{indent}{line}\n" for line in text.splitlines()))
        try:
            return ast.parse(source)
        except SyntaxError:
            continue
    return ast.parse(text)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_every_piece_of_python_is_python_and_imports_what_is_there(block: Block) -> None:
    tree = _tree(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and _is_here(node.module):
            module = importlib.import_module(node.module or "")
            missing = [one.name for one in node.names if not hasattr(module, one.name)]
            assert missing == [], f"{node.module} has no {missing}"
        if isinstance(node, ast.Import):
            for one in node.names:
                assert importlib.util.find_spec(one.name)


def _is_here(module: str | None) -> bool:
    """Whether it can be imported: pages name modules of the reader's own, too."""
    return module is not None and importlib.util.find_spec(module.partition(".")[0]) is not None


def _unknown_names(tree: ast.Module) -> set[str]:
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    defined = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    given = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return {node.id for node in names} - imported - defined - given - stored - set(dir(builtins))


MODULES = [
    block
    for block in blocks("python")
    if "import" in block.text
    and not _unknown_names(_tree(block.text))
    and "async def shown" not in block.text
]


def test_whole_modules_are_found_in_the_pages() -> None:
    assert "docs/change.md" in {block.page for block in MODULES}


@pytest.mark.parametrize("block", MODULES, ids=str)
def test_every_module_that_is_shown_whole_can_be_run(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("shown")
    monkeypatch.setitem(sys.modules, "shown", module)
    exec(compile(block.text, str(block), "exec"), module.__dict__)
    assert [name for name, value in vars(module).items() if isinstance(value, type)]


_JAVA_NAME = re.compile(r"[A-Za-z_]\w*")
_NO_JAVA_NAME = re.compile(r'"[^"\n]*"|//[^\n]*|/\*.*?\*/', re.DOTALL)


def _java_names(text: str) -> set[str]:
    return set(_JAVA_NAME.findall(_NO_JAVA_NAME.sub("", text))) - {"else"}


@pytest.mark.parametrize("block", blocks("java"), ids=str)
def test_every_piece_of_java_has_only_names_of_the_worker_that_is_tested(block: Block) -> None:
    sources = (path.read_text() for path in (ROOT / "tests/elsewhere/java").rglob("*.java"))
    assert _java_names(block.text) - _java_names("\n".join(sources)) == set()
