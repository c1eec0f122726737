"""What `turnout tail` shows of a record."""

import pytest

from service.cli.printing import show_record
from tests.unit.records import record


def test_a_record_is_shown_as_it_is_and_nothing_in_it_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    headers = (("[red]na\x1b[2Jme\nx", b"[/b]\x1b"),)
    key, value = b"[/shop]:package:7\n", b"urn:id:5 [/x]"
    show_record(record(3, topic="shop.orders", key=key, value=value, headers=headers))
    assert capsys.readouterr().out.splitlines() == [
        "shop.orders[0]@3 key [/shop]:package:7\\n",
        "  [red]na\\x1b[2Jme\\nx: 0x5b2f625d1b",
        "  urn:id:5 [/x]",
    ]
