"""Tells an id that a producer uses again from an event that Kafka delivers again."""

from collections import OrderedDict

from service.events.event import Event, EventKey

REMEMBERED = 20_000


class IdsSeen:
    """The newest event ids of this process, with the record that each came in.

    An id in another record is, for all routes, the same event: it takes no effect again. That is
    right for a producer that sent twice, and loses an event of one whose ids are not unique. So
    it is said.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._places: OrderedDict[EventKey, str] = OrderedDict()

    def earlier(self, event: Event) -> str | None:
        """The other record in which this event's id was seen first; None where it is new or the same."""
        place = str(event.record)
        first = self._places.setdefault(event.key, place)
        self._places.move_to_end(event.key)
        if len(self._places) > self._remembered:
            self._places.popitem(last=False)
        return first if first != place else None
