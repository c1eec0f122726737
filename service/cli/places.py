"""Places of records as people write them: `shop.orders/0/42`, or as the log has it, `shop.orders[0]@42`."""

import typer

from service.redrive.letterbox import Place


def place_of(text: str, option: str = "PLACE") -> Place:
    """The place that `text` means.

    Raises:
        BadParameter: It means none; names `option`.
    """
    if (place := Place.meant_by(text)) is None:
        raise typer.BadParameter(
            f"{text!r} is not TOPIC/PARTITION/OFFSET; write for example shop.orders/0/42", param_hint=option
        )
    return place
