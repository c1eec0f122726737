"""Which letters are meant."""

from dataclasses import dataclass, field
from datetime import datetime

from service.events.headers import text_headers
from service.failures.letters import Letter
from service.redrive.letterbox import Found, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which letters are meant: all for which everything holds that is asked for.

    Of places one is enough. A record in the letter topic that is no letter is meant by its place there alone.
    `since` is included, `until` is not.
    """

    places: frozenset[Place] = field(default_factory=frozenset)
    reason: str = ""
    stage: str = ""
    route: str = ""
    type: str = ""
    key: bytes | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is asked for."""
        return self == Choice()

    def means(self, found: Found) -> bool:
        """Whether `found` is meant."""
        if self.places and not self.places & places_of(found):
            return False
        if found.letter is None:
            return bool(self.places)
        return self._fits(found.letter)

    def _fits(self, letter: Letter) -> bool:
        return (
            self.reason.casefold() in letter.reason.casefold()
            and self.stage in {"", letter.stage}
            and self.route in {"", letter.about.route}
            and self.type in {"", type_of(letter)}
            and (self.key is None or self.key == letter.record.key)
            and (self.since is None or self.since <= letter.failed_at)
            and (self.until is None or letter.failed_at < self.until)
        )


def places_of(found: Found) -> set[Place]:
    """The places by which `found` may be named: where it lies, and where its record does."""
    return {found.place, Place.of(found.letter.record)} if found.letter else {found.place}


def type_of(letter: Letter) -> str:
    """The type of its event as far as it is known; one that was not decoded may still have it in a header."""
    return letter.about.event_type or text_headers(letter.record.headers).get("ce_type", "")
