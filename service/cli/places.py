"""Places of records as people write them: `shop.orders/0/42`, or as the log has it, `shop.orders[0]@42`."""

import re

import typer

from service.kafka.record import Partition
from service.redrive.letterbox import Place

_PLACE = re.compile(r"([A-Za-z0-9._-]{1,249})(?:/([0-9]{1,9})/|\[([0-9]{1,9})\]@)([0-9]{1,18})")


def place_in(text: str) -> Place | None:
    """The place that `text` means; None if it means none."""
    form = _PLACE.fullmatch(text)
    return Place(Partition(form[1], int(form[2] or form[3])), int(form[4])) if form else None


def place_of(text: str, option: str = "PLACE") -> Place:
    """The place that `text` means.

    Raises:
        BadParameter: It means none; names `option`.
    """
    if (place := place_in(text)) is None:
        raise typer.BadParameter(
            f"{text!r} is not TOPIC/PARTITION/OFFSET; write for example shop.orders/0/42", param_hint=option
        )
    return place
