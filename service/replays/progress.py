"""How far replays of a route have come, kept as what their group has committed."""

import re
from typing import NamedTuple

from service.intake.offset_map import LIMIT_BYTES
from service.kafka.record import Commit

_FORM = re.compile(r"from=([0-9]{1,19})(?: (.*))?", re.ASCII | re.DOTALL)


def replay_group(group: str, route: str) -> str:
    """The group whose commits tell how far `route` was replayed."""
    return f"{group}.replay.{route}"


class Replayed(NamedTuple):
    """That from offset `since` on all is done that `commit` says."""

    since: int
    commit: Commit

    def as_commit(self) -> Commit:
        """As it is kept; without its map where that does not fit beside the other, which costs repeats."""
        text = f"from={self.since} {self.commit.metadata}".rstrip()
        return Commit(self.commit.offset, text if len(text) <= LIMIT_BYTES else f"from={self.since}")

    @classmethod
    def read(cls, commit: Commit | None) -> "Replayed | None":
        """What `commit` says; None if it is none of ours."""
        form = _FORM.fullmatch(commit.metadata) if commit else None
        return cls(int(form[1]), Commit(commit.offset, form[2] or "")) if commit and form else None
