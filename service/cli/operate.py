"""`turnout emit` and `turnout tail`: put one event on a topic, and watch what comes out."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer

from activities.ports import ResultEvent
from service.cli.printing import show_record
from service.errors import ConfigurationError
from service.events.cloudevents import EncodedRecord, encode_binary
from service.kafka.admin import Admin, no_such_topic
from service.kafka.outside import read_on
from service.kafka.sink import KafkaSink
from service.pipeline import kafka_connection
from service.settings import load_settings


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    app.command("emit")(emit)
    app.command("tail")(tail)


def emit(
    topic: Annotated[str, typer.Argument(help="The topic to write to.")],
    type: Annotated[str, typer.Option(help="The event's type, for example shop.order.placed.")],  # noqa: A002
    data: Annotated[str, typer.Option(help="The event's data as JSON.")] = "null",
    subject: Annotated[str, typer.Option(help="What it is about; also the record's key.")] = "",
    source: Annotated[str, typer.Option(help="Who says so.")] = "/turnout/emit",
    id: Annotated[str, typer.Option(help="The event's id; a new one if absent.")] = "",  # noqa: A002
) -> None:
    """Write one CloudEvent to a topic, and say where it lies."""
    try:
        decoded = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"is not JSON: {error}", param_hint="--data") from None
    event = ResultEvent(
        topic=topic,
        id=id or str(uuid.uuid4()),
        source=source,
        type=type,
        subject=subject,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        data=decoded,
    )
    typer.echo(asyncio.run(_write(event)))


async def _write(event: ResultEvent) -> str:
    connection = kafka_connection(load_settings(need_group=False).kafka)
    async with Admin.connected(connection) as admin:
        topics = (await admin.cluster()).partitions
    if event.topic not in topics:
        raise ConfigurationError(no_such_topic(event.topic, topics))
    sink = KafkaSink(connection)
    await sink.start()
    try:
        key, value, headers = _encoded(event)
        written = await sink.send(event.topic, key=key, value=value, headers=headers)
    finally:
        await sink.stop()
    return f"{event.type} {event.id} lies at {written.topic}[{written.partition}]@{written.offset}"


def _encoded(event: ResultEvent) -> EncodedRecord:
    try:
        return encode_binary(event)
    except ValueError as error:
        raise ConfigurationError(f"that is no event: {error}") from error


def tail(
    topic: Annotated[str, typer.Argument(help="The topic to read.")],
    last: Annotated[int, typer.Option(help="How many records that are there already to show first.")] = 10,
    follow: Annotated[bool, typer.Option(help="Go on with what comes.")] = True,
) -> None:
    """Show a topic's records, without a consumer group and without leaving a trace."""
    connection = kafka_connection(load_settings(need_group=False).kafka)
    asyncio.run(read_on(connection, topic, last=last, follow=follow, show=show_record))
