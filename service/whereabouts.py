"""What `turnout where` works with: settings become what finds a record, and asks about it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from service.dispatch.contracts import Contracts
from service.dispatch.explaining import Explaining, Verdict
from service.errors import ConfigurationError, RecordError
from service.events.decoding import Decoder, Tombstone
from service.events.envelope import MappedEnvelope
from service.events.event import Event
from service.journeys.facts import Facts, Form, LetterFact, RouteFacts, Search
from service.journeys.finding import Recogniser, Seen, look_through
from service.journeys.in_kafka import in_group, in_log, letters_since, letters_where
from service.journeys.in_temporal import InTemporal
from service.journeys.journey import Journey
from service.journeys.judging import ends_there, journey_of
from service.kafka.admin import Cluster
from service.kafka.outside import extent
from service.kafka.reading import reader
from service.kafka.record import Partition, Record
from service.neighbours import KAFKA, KAFKA_SECONDS, TEMPORAL, TEMPORAL_SECONDS, Neighbours
from service.pipeline import make_decoder, seal_of
from service.redrive.letterbox import Found, Place, open_letterbox
from service.routing.table import RouteTable, load_routes
from service.settings import Settings
from service.temporal.worker import find

SETTLE_SECONDS = 1.0
REGISTRY, REGISTRY_SECONDS = "the schema registry", 15.0
LETTERS, PARKS = "all letters", "all parks"
IN_PART = frozenset({LETTERS, PARKS})
"""What could be asked, and not of all."""

MOST_PLACES = 5
"""So many records of one event are told of."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far topics are looked through for an event: what was written since then, and for how long."""

    since: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Told how far the look through topics is: how many offsets there are, and how many are done."""

    counted: Callable[[int], None]
    moved: Callable[[int], None]


async def journeys(
    settings: Settings, asked: str, form: Form | None, bounds: Bounds, progress: Progress
) -> Sequence[Journey]:
    """Where what was asked for is: one journey for each record of it that was found, the oldest first.

    Args:
        settings: Ours.
        asked: The id of an event or workflow, or the place of a record.
        form: Which of these; None: as it looks. What is no place cannot be that of a record.
        bounds: How far to look.
        progress: Told how far it is.

    Raises:
        ConfigurationError: Routes, workflows or a namespace are not as they must be; no such topic.
    """
    table = load_routes(settings.routes)
    contracts = Contracts(find(settings.worker.packages).workflows)
    neighbours = Neighbours(settings)
    await neighbours.meet()
    world = _World(neighbours, table)
    gathering = _Gathering(world, Explaining(table, contracts, seal_of(settings.calls)))
    found = await _Finding(world, bounds, progress).found(asked, form)
    return [journey_of(await gathering.facts(one)) for one in found]


@dataclass(frozen=True)
class _World:
    """The neighbours, with the routes by which they are asked."""

    neighbours: Neighbours
    table: RouteTable

    @property
    def settings(self) -> Settings:
        return self.neighbours.settings

    @property
    def temporal(self) -> InTemporal | None:
        at = self.neighbours.temporal
        return InTemporal(at.client, at.parks, at.links, self.table.namespaces) if at else None

    def decoder(self, cluster: Cluster) -> Decoder:
        return make_decoder(self.settings, self.table, cluster)

    async def letters(
        self, since: datetime, means: Callable[[Found], Awaitable[bool]]
    ) -> Sequence[LetterFact]:
        """Letters since then that are meant; that not all were looked at is noted."""
        neighbours, group = self.neighbours, self.settings.group
        if neighbours.cluster is None:
            return []

        async def ask() -> Sequence[LetterFact]:
            try:
                async with reader(neighbours.connection) as reading:
                    letterbox = await open_letterbox(reading, group)
                    letters, whole = await letters_where(reading, letterbox, group, since, means)
            except ConfigurationError as error:  # there is no such topic, or a right lacks
                neighbours.unasked.setdefault(LETTERS, str(error))
                return []
            if not whole:
                neighbours.unasked.setdefault(LETTERS, "there are too many to look through in time")
            return letters

        return await neighbours.asked(KAFKA, ask(), KAFKA_SECONDS) or []


class _Finding:
    """Finds the record that is meant: by who knows of it, and else by a look through the topics."""

    def __init__(self, world: _World, bounds: Bounds, progress: Progress) -> None:
        self._world = world
        self._bounds = bounds
        self._progress = progress
        self._started: dict[Place, str] = {}
        self._by_no_record: Sequence[str] = ()

    async def found(self, asked: str, form: Form | None) -> Sequence[Facts]:
        """What was asked for, as far as it was found: at least one, and be it without a place."""
        place = Place.meant_by(asked)
        if place and (form is Form.RECORD or (form is None and self._is_topic(place.partition.topic))):
            return [_facts(asked, Form.RECORD, place=place)]
        workflow = None if form is Form.EVENT else await self._workflow(asked)
        if form is Form.WORKFLOW or (workflow and workflow.place):
            return [workflow or _facts(asked, Form.WORKFLOW)]
        events = await self._event(asked)
        return [workflow] if workflow and not events[0].place else events

    def _is_topic(self, topic: str) -> bool:
        cluster = self._world.neighbours.cluster
        return topic in self._world.table.topics or bool(cluster and topic in cluster.partitions)

    async def _workflow(self, asked: str) -> Facts | None:
        """The workflow of that id, with the record that led to it, if one did."""
        if (temporal := self._world.temporal) is None:
            return None
        asking = temporal.workflow(asked)
        if (there := await self._world.neighbours.asked(TEMPORAL, asking, TEMPORAL_SECONDS)) is None:
            return None
        target, place = there
        by = f"the memo of workflow {target.id}"
        return _facts(asked, Form.WORKFLOW, workflow=target, place=place, found_by=by)

    async def _event(self, asked: str) -> Sequence[Facts]:
        places, by = await self._known(asked)
        if places:
            return _of_places(asked, places, by, started=self._started)
        seen = await self._look_through(asked)
        if seen and seen.places:
            return _of_places(asked, seen.places, "a look through the topics", search=seen.search)
        search = seen.search if seen else None
        # Of what came through the handler API, too, there may be a record: then that was told.
        return [
            _facts(asked, Form.EVENT, search=search, started=workflow)
            for workflow in self._by_no_record[:MOST_PLACES] or [""]
        ]

    async def _known(self, asked: str) -> tuple[Sequence[Place], str]:
        """Where records of the event lie, by who knows of them; and who that is."""
        world, temporal, attribute = self._world, self._world.temporal, self._world.settings.temporal
        if temporal and attribute.search_attributes:
            asking = temporal.started_by(attribute.attribute_event_id, asked)
            started = await world.neighbours.asked(TEMPORAL, asking, TEMPORAL_SECONDS) or ()
            self._started = {one.place: one.workflow_id for one in started if one.place}
            self._by_no_record = [one.workflow_id for one in started if not one.place]
            if self._started:
                return sorted(self._started), f"search attribute {attribute.attribute_event_id}"
        if cluster := world.neighbours.cluster:
            recogniser = self._recogniser(asked, cluster)

            async def means(found: Found) -> bool:
                return found.letter is not None and await recogniser.knows(found.letter.record)

            letters = await world.letters(self._bounds.since, means)
            if letters:
                return sorted({letter.about for letter in letters}), "a letter"
        if temporal:
            asked_parks = temporal.parked_events(asked)
            parked = await world.neighbours.asked(TEMPORAL, asked_parks, TEMPORAL_SECONDS)
            if parked and parked[0]:
                return sorted(set(parked[0])), "a park"
            if parked and not parked[1]:
                world.neighbours.unasked.setdefault(PARKS, "there are too many to look into in time")
        return [], ""

    async def _look_through(self, asked: str) -> Seen | None:
        neighbours, bounds = self._world.neighbours, self._bounds
        if (cluster := neighbours.cluster) is None:
            return None
        recogniser = self._recogniser(asked, cluster)

        async def ask() -> Seen:
            async with reader(neighbours.connection, "read_uncommitted") as reading:
                held: dict[Partition, range] = {}
                since_ms = max((bounds.since - EPOCH) // timedelta(milliseconds=1), 0)
                for topic in set(self._world.table.topics.real(cluster.partitions)) & set(cluster.partitions):
                    held |= await reading.since(await reading.extents(topic), since_ms)
                return await look_through(
                    reading,
                    held,
                    bounds.since,
                    recogniser,
                    seconds=bounds.seconds,
                    counted=self._progress.counted,
                    moved=self._progress.moved,
                )

        seen = await neighbours.asked(KAFKA, ask(), bounds.seconds + KAFKA_SECONDS)
        if recogniser.away:
            neighbours.unasked.setdefault(REGISTRY, recogniser.away)
        return seen

    def _recogniser(self, asked: str, cluster: Cluster) -> Recogniser:
        mapped = self._world.table.topics.where(lambda one: isinstance(one.format.envelope, MappedEnvelope))
        return Recogniser(asked, self._world.decoder(cluster), mapped)


def _facts(asked: str, form: Form, **known: Any) -> Facts:
    return Facts(asked=asked, form=form, now=datetime.now(UTC), **known)


def _of_places(
    asked: str,
    places: Sequence[Place],
    by: str,
    *,
    search: Search | None = None,
    started: Mapping[Place, str] = MappingProxyType({}),
) -> Sequence[Facts]:
    return [
        _facts(
            asked,
            Form.EVENT,
            place=place,
            found_by=by,
            search=search,
            earlier=places[:n],
            started=started.get(place, ""),
        )
        for n, place in enumerate(places[:MOST_PLACES])
    ]


class _Gathering:
    """Gathers what is to be known of a record."""

    def __init__(self, world: _World, explaining: Explaining) -> None:
        self._world = world
        self._explaining = explaining

    async def facts(self, facts: Facts) -> Facts:
        """`facts` with all that was to be asked."""
        if place := facts.place:
            declared = self._world.table.topics.declaration_of(place.partition.topic) or ""
            facts = replace(facts, declared=declared)
            facts = await self._paused(await self._in_kafka(facts, place))
            if not (facts.log and ends_there(facts.log, place.offset, known=bool(facts.found_by))):
                facts = await self._as_event(await self._with_letters(facts, place))
        if facts.started and not facts.routes and (temporal := self._world.temporal):
            # The record is gone, or Kafka is away.
            asking = temporal.workflow(facts.started)
            there = await self._world.neighbours.asked(TEMPORAL, asking, TEMPORAL_SECONDS)
            facts = replace(facts, workflow=there[0] if there else None)
        return replace(facts, unasked=self._world.neighbours.not_asked())

    async def _in_kafka(self, facts: Facts, place: Place) -> Facts:
        neighbours, group = self._world.neighbours, self._world.settings.group
        if neighbours.cluster is None or not place.is_in_kafka:
            return facts

        async def ask() -> Facts:
            held = await extent(neighbours.connection, place.partition)
            async with (
                reader(neighbours.connection) as committed,
                reader(neighbours.connection, "read_uncommitted") as everything,
            ):
                log = await in_log(committed, everything, held, place)
                if ends_there(log, place.offset, known=bool(facts.found_by)):
                    return replace(facts, log=log)
                by_partition = self._world.table.ordered_by_partition
                standing = await in_group(committed, group, place, log, neighbours.members, by_partition)
                return replace(facts, log=log, group=standing)

        return await neighbours.asked(KAFKA, ask(), KAFKA_SECONDS) or facts

    async def _paused(self, facts: Facts) -> Facts:
        neighbours = self._world.neighbours
        if neighbours.temporal is None:
            return facts
        asking = neighbours.temporal.board.read_settled(SETTLE_SECONDS)
        reading = await neighbours.asked(TEMPORAL, asking, TEMPORAL_SECONDS)
        if reading is None or reading.state is None:
            return facts
        return replace(facts, paused=reading.state.paused, paused_settled=reading.settled)

    async def _with_letters(self, facts: Facts, place: Place) -> Facts:
        record = facts.log.record if facts.log else None

        async def means(found: Found) -> bool:
            return found.letter is not None and Place.of(found.letter.record) == place

        since = letters_since(record) if record else EPOCH
        return replace(facts, letters=await self._world.letters(since, means))

    async def _as_event(self, facts: Facts) -> Facts:
        """What its bytes mean, and what became of each route's part."""
        letters, neighbours = facts.letters, self._world.neighbours
        record = facts.log.record if facts.log else None
        if record is None or neighbours.cluster is None:
            return facts
        if record.topic not in self._world.table.topics:
            return replace(facts, unread=True)
        try:
            event = await self._decoded(record, neighbours.cluster)
        except RecordError as error:
            return replace(facts, undecodable=str(error))
        if event is None or isinstance(event, Tombstone):
            return replace(facts, tombstone=event is not None)
        taking = self._world.table.routes_for(event)
        named = {route.name for route in taking}
        facts = replace(facts, event=event, letters=[one for one in letters if one.route not in named])
        if not taking:
            return replace(facts, unmatched=self._world.table.topics[record.topic].unmatched.value)
        verdicts = [self._explaining.verdict(route, event) for route in taking]
        return replace(facts, routes=[await self._part(verdict, letters) for verdict in verdicts])

    async def _decoded(self, record: Record, cluster: Cluster) -> Event | Tombstone | None:
        decoding = self._world.decoder(cluster).decode_with_registry(record)
        return await self._world.neighbours.asked(REGISTRY, decoding, REGISTRY_SECONDS)

    async def _part(self, verdict: Verdict, letters: Sequence[LetterFact]) -> RouteFacts:
        part = RouteFacts(verdict, [letter for letter in letters if letter.route == verdict.route.name])
        if verdict.command is None or (temporal := self._world.temporal) is None:
            return part
        asking = temporal.of_command(verdict.command)
        answer = await self._world.neighbours.asked(TEMPORAL, asking, TEMPORAL_SECONDS)
        return replace(part, target=answer[0], park=answer[1]) if answer else part
