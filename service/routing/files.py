"""Which files hold routes, and which their tests: both stand in one folder, told apart by their names."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from service.errors import ConfigurationError, Finding

ROUTES = ("*.yaml", "*.yml")
TESTS = ("*.test.yaml", "*.test.yml")


def is_test(path: Path) -> bool:
    """Whether `path` is named as tests of routes are: `shop.test.yaml`."""
    return any(path.match(name) for name in TESTS)


def route_files(path: Path) -> Sequence[Path]:
    """The file at `path`, or all that hold routes in that folder and below, in the order of their paths.

    Those in hidden folders are left out, since a mounted Kubernetes ConfigMap keeps a second copy of each
    file in one.

    Raises:
        ConfigurationError: There is none; with one finding.
    """
    if path.is_file() and is_test(path):
        raise _nothing(path, "holds tests of routes, not routes", "run them by `turnout routes test`")
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise _nothing(path, "there is no such file or folder")
    files = [file for file in _below(path, ROUTES) if not is_test(file)]
    if not files:
        raise _nothing(path, "holds no *.yaml or *.yml file")
    return files


def files_of_tests(path: Path) -> Sequence[Path]:
    """All that hold tests in the folder at `path` and below, or that file; `shop.yaml` has `shop.test.yaml`.

    Hidden folders are left out, as for `route_files`. There may be none.
    """
    if path.is_file() and not is_test(path):
        return [file for name in TESTS if (file := path.with_suffix(name.removeprefix("*"))).is_file()]
    return [path] if path.is_file() else _below(path, TESTS)


def _below(folder: Path, names: Iterable[str]) -> Sequence[Path]:
    found = {file for name in names for file in folder.rglob(name)}
    return sorted(file for file in found if not _is_hidden(file.relative_to(folder)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _nothing(path: Path, problem: str, cure: str = "") -> ConfigurationError:
    finding = Finding("TR101", path, 0, 0, problem, cure)
    return ConfigurationError(f"the routes in {path} cannot be used: 1 mistake", [finding])
