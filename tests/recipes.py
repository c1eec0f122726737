"""The pages of docs/recipes as tests use them: their routes, workflows and records."""

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "docs" / "recipes"
INDEX = FOLDER / "README.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Try:
    """A record, what is said about it on the command line, and the answer."""

    record: str
    command: str
    answer: str


@dataclass(frozen=True)
class Recipe:
    """One page; `workflow` is empty where it has none."""

    name: str
    text: str
    routes: str
    workflow: str
    tries: list[Try]

    def module(self, folder: Path) -> ModuleType:
        """Its workflows, as a module that is written to `folder`."""
        name = "recipe_" + self.name.replace("-", "_")
        path = folder / f"{name}.py"
        path.write_text(self.workflow)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module


def recipes() -> dict[str, Recipe]:
    """All pages but the index, by name."""
    return {page.stem: _recipe(page) for page in sorted(FOLDER.glob("*.md")) if page != INDEX}


def _recipe(page: Path) -> Recipe:
    text = page.read_text()
    blocks = _BLOCK.findall(text)
    (routes,) = [block for kind, block in blocks if kind == "yaml"]
    modules = [block for kind, block in blocks if kind == "python"]
    assert len(modules) <= 1
    at = [n for n, (kind, _) in enumerate(blocks) if kind == "json"]
    tries = []
    for n in at:
        (_, record), (sh, command), (told, answer) = blocks[n : n + 3]
        assert (sh, told) == ("sh", "text"), f"{page.name}: a record is followed by a command and its answer"
        tries.append(Try(record, command.strip(), answer))
    return Recipe(page.stem, text, routes, modules[0] if modules else "", tries)
