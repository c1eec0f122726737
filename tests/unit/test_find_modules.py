"""What a worker finds in the packages that a setting names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.temporal.worker import find

FILES = {
    "__init__.py": "",
    "orders.py": """
from temporalio import activity, workflow

@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> None: ...

class Helper: ...

@activity.defn
async def reserve() -> None: ...

@activity.defn(name="charge-card")
def charge() -> None: ...

def plain() -> None: ...

again = Order
""",
    "deep/__init__.py": "from some_shop.orders import Order, reserve",
    "deep/customers.py": """
from temporalio import workflow
from some_shop.orders import Order, reserve

@workflow.defn(name="customer")
class Customer:
    @workflow.run
    async def run(self) -> None: ...

class NotRegistered(Order): ...
""",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "some_shop"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "some_shop"]:
        del sys.modules[name]


def names(*packages: str) -> tuple[list[str], list[str]]:
    found = find(packages)
    return [w.__name__ for w in found.workflows], [a.__name__ for a in found.activities]


def test_all_workflows_and_activities_below_a_package_are_found_once(package: Path) -> None:
    workflows, activities = names("some_shop")
    assert sorted(workflows) == ["Customer", "Order"]
    assert sorted(activities) == ["charge", "reserve"]


def test_packages_that_overlap_are_no_trouble(package: Path) -> None:
    assert names("some_shop", "some_shop.deep", "some_shop.orders") == names("some_shop")


def test_a_module_may_be_named_instead_of_a_package(package: Path) -> None:
    assert names("some_shop.deep.customers") == (["Customer"], [])


def test_what_a_module_merely_imports_is_not_its_own(package: Path) -> None:
    assert names("some_shop.deep") == (["Customer"], [])


def test_no_packages_have_nothing() -> None:
    assert names() == ([], [])


def test_a_package_that_does_not_exist_is_named_with_the_setting() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"TURNOUT_WORKER__MODULES: no\.such cannot be imported: ModuleNotFoundError: .*PYTHONPATH$",
    ):
        find(["no.such"])


def test_a_package_with_neither_workflow_nor_activity_is_no_silent_gap(package: Path) -> None:
    (package / "empty").mkdir()
    (package / "empty" / "orders.py").write_text("from some_shop.orders import Order")
    with pytest.raises(ConfigurationError, match=r"some_shop\.empty defines no workflow .* and no activity"):
        find(["some_shop", "some_shop.empty"])


@pytest.mark.parametrize("name", ["broken.py", "deep/broken/__init__.py"])
def test_a_module_below_that_cannot_be_imported_is_no_silent_gap(package: Path, name: str) -> None:
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_text("import no_such_library")
    with pytest.raises(ConfigurationError, match=r"some_shop cannot be imported: .*no_such_library"):
        find(["some_shop"])
