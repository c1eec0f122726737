"""Kafka and Temporal for commands that look: who does not answer is noted, the other is asked anyway."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from service.access import temporal_access
from service.dispatch.answers import said
from service.dispatch.links import Links
from service.errors import NotNow, Unreachable
from service.failures.parks import Parks
from service.journeys.facts import Unasked
from service.kafka.admin import Admin, Cluster
from service.kafka.connection import Connection
from service.kafka.members import Members
from service.pipeline import kafka_connection
from service.settings import Settings
from service.temporal.client import connect
from service.temporal.switchboard import SwitchboardClient

T = TypeVar("T")

KAFKA, TEMPORAL = "Kafka", "Temporal"
KAFKA_SECONDS, TEMPORAL_SECONDS = 45.0, 30.0
"""For one question; nearly all take a moment."""

CONNECT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class AtTemporal:
    """A connection to Temporal, and what of ours is there."""

    client: Client
    parks: Parks
    board: SwitchboardClient
    links: Links


@dataclass
class Neighbours:
    """Kafka and Temporal, as far as they answer.

    Attributes:
        settings: Ours.
        unasked: Who did not answer a question, with the first reason.
        cluster: Kafka's; None where it does not answer.
        members: Who is in our group; None where that is not known.
        temporal: None where Temporal does not answer.
    """

    settings: Settings
    unasked: dict[str, str] = field(default_factory=dict)
    cluster: Cluster | None = None
    members: Members | None = None
    temporal: AtTemporal | None = None

    @property
    def connection(self) -> Connection:
        """The way to Kafka."""
        return kafka_connection(self.settings.kafka)

    async def meet(self) -> None:
        """See who is there, both at once.

        Raises:
            ConfigurationError: The namespace is not there, or a certificate cannot be read.
        """
        await asyncio.gather(self._meet_kafka(), self._meet_temporal())

    async def asked(self, whom: str, asking: Awaitable[T], seconds: float) -> T | None:
        """The answer; None where there is none in time, which is noted."""
        try:
            async with asyncio.timeout(seconds):
                return await asking
        except TimeoutError:
            self.unasked.setdefault(whom, f"no answer within {seconds:.0f} s")
        except RPCError as error:
            self.unasked.setdefault(whom, said(error))
        except (Unreachable, NotNow) as error:
            # Of many lines, at times: what is told of it is one.
            self.unasked.setdefault(whom, " ".join(str(error).split()))
        return None

    def not_asked(self) -> list[Unasked]:
        """Who did not answer."""
        return [Unasked(whom, why) for whom, why in self.unasked.items()]

    async def _meet_kafka(self) -> None:
        async def ask() -> None:
            async with Admin.connected(self.connection) as admin:
                self.cluster = await admin.cluster()
                self.members = await admin.members(self.settings.group)

        await self.asked(KAFKA, ask(), CONNECT_SECONDS)

    async def _meet_temporal(self) -> None:
        if client := await self.asked(TEMPORAL, connect(temporal_access(self.settings)), CONNECT_SECONDS):
            links = Links(self.settings.temporal.ui_url)
            group = self.settings.group
            self.temporal = AtTemporal(
                client, Parks(client, group, links), SwitchboardClient(client, group), links
            )
