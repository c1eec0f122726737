"""The tests of the demo's routes pass, and leave nothing of those routes unseen."""

import sys
from pathlib import Path

import pytest

from service.cli import app as app_module

ROUTES = Path(__file__).parents[3] / "deploy/demo/routes"


def test_the_demos_routes_pass_their_tests_which_cover_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(app_module, "leave", codes.append)
    arguments = ["routes", "test", str(ROUTES), "--modules", "workflows.shop", "--cover"]
    monkeypatch.setattr(sys, "argv", ["turnout", *arguments])
    app_module.main()
    told = capsys.readouterr()
    assert codes == [0], told.out + told.err
    assert "14 of 14 routes are covered" in told.err
