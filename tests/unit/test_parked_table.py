"""What `turnout parked` prints."""

from io import StringIO

from rich.console import Console

from service.cli.parked import _table
from service.failures.parks import OpenPark
from workflows.park import ParkStatus


def test_texts_of_others_are_printed_as_they_are() -> None:
    park = OpenPark("id", "[a](b)", "default", ParkStatus(commands=1), "[/] is not [red]there", "")
    out = StringIO()
    Console(file=out, width=200).print(_table([park]))
    assert "[a](b)" in out.getvalue()
    assert "[/] is not [red]there" in out.getvalue()
