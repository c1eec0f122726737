"""Where routes began and ended to run: what bridges note of each partition, for who replays its past.

A bridge that takes a partition on compares its routes with those that ran there last. Where they differ, it
notes what the group has committed just then, before it hands anything out. It does so as a commit to a group
of its own, `<group>.routes`: the broker takes no commit from outside for a group that has members. The offset
says nothing more; the metadata holds the latest changes, as many as fit.
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, ValidationError

from service.kafka.record import Commit

LIMIT_BYTES = 4_096
"""What brokers take as metadata (`offset.metadata.max.bytes`)."""

TOO_MANY = "too many routes"
"""Kept where not even the routes that run now fit: then nothing is known."""

_FORM = "v1:"


def routes_group(group: str) -> str:
    """The group whose commits tell where the routes of `group` began to run."""
    return f"{group}.routes"


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Change(_Kept):
    """That routes began, and others ended, when their group had committed this: an offset and a map."""

    offset: int
    map: str = ""
    began: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()

    @property
    def at(self) -> Commit:
        """What the group had committed."""
        return Commit(self.offset, self.map)


class RouteLog(_Kept):
    """The changes of one partition, the oldest first; at least one.

    `whole`: nothing of the partition was handled before the first of them. Else it is not known since when
    those run that began with it.
    """

    whole: bool
    changes: tuple[Change, ...]

    @classmethod
    def begin(cls, at: Commit, routes: Iterable[str], *, whole: bool) -> "RouteLog":
        """The log of a partition of which nothing was noted yet."""
        return cls(whole=whole, changes=(_change(at, began=frozenset(routes)),))

    @classmethod
    def read(cls, commit: Commit | None) -> "RouteLog | None":
        """What `commit` says; None if it is none of ours."""
        if commit is None or not commit.metadata.startswith(_FORM):
            return None
        try:
            log = cls.model_validate_json(commit.metadata.removeprefix(_FORM))
        except ValidationError:
            return None
        return log if log.changes else None

    @property
    def running(self) -> frozenset[str]:
        """The routes that run since the last change."""
        return _running(self.changes)

    def then(self, at: Commit, routes: Iterable[str]) -> "RouteLog":
        """The log once `routes`, and no others, run from `at` on."""
        changes, routes = list(self.changes), frozenset(routes)
        # Beyond `at` all is handled once more, by these; and nothing was handled between two that are the
        # same. But what an incomplete log begins with must not take the newer ones in.
        while changes and (
            changes[-1].offset > at.offset or (changes[-1].at == at and (self.whole or len(changes) > 1))
        ):
            changes.pop()
        before = _running(changes)
        if not changes or routes != before:
            changes.append(_change(at, began=routes - before, ended=before - routes))
        return self.model_copy(update={"changes": tuple(changes)})

    def as_commit(self) -> Commit:
        """As it is kept: of changes that do not fit the oldest are forgotten, and in the end all of it."""
        log = self
        while len(metadata := _FORM + log.model_dump_json(exclude_defaults=True)) > LIMIT_BYTES:
            if len(log.changes) == 1:
                return Commit(log.changes[0].offset, TOO_MANY)
            log = log._without_the_oldest()
        return Commit(log.changes[-1].offset, metadata)

    def _without_the_oldest(self) -> "RouteLog":
        # Of routes whose beginning is not known, no map is needed either.
        second = _change(Commit(self.changes[1].offset), began=_running(self.changes[:2]))
        return RouteLog(whole=False, changes=(second, *self.changes[2:]))


def _change(
    at: Commit, *, began: frozenset[str] = frozenset(), ended: frozenset[str] = frozenset()
) -> Change:
    return Change(offset=at.offset, map=at.metadata, began=tuple(sorted(began)), ended=tuple(sorted(ended)))


def _running(changes: Iterable[Change]) -> frozenset[str]:
    running = frozenset[str]()
    for change in changes:
        running = (running | frozenset(change.began)) - frozenset(change.ended)
    return running
