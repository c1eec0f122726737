"""`turnout codec`: keys for payloads, and the server that decrypts them for the Temporal UI."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import structlog
import typer

from service.access import temporal_access
from service.addresses import is_this_machine
from service.callers import letting_in
from service.codec import AT_ONCE, CodecServer
from service.errors import ConfigurationError
from service.lifecycle import stop_on_signals
from service.secret_files import read_by_others
from service.serving import serving
from service.settings import Settings, load_settings
from service.telemetry.logs import configure_logging
from workflows.encryption import new_key

log = structlog.get_logger(__name__)

GRACE_SECONDS = 5.0


def add_to(app: typer.Typer, _words: Sequence[str]) -> None:
    """Add this family's commands."""
    codec = typer.Typer(help="Encrypted payloads: keys, and the server that shows them in the Temporal UI.")
    codec.command("serve")(serve)
    codec.command("new-key")(make_key)
    app.add_typer(codec, name="codec")


def serve() -> None:
    """Decrypt payloads for the Temporal UI, at TURNOUT_CODEC__ADDRESS, until SIGTERM.

    Give the UI this address as its codec server, with TURNOUT_CODEC__ORIGINS set to the UI's own.
    """
    settings = load_settings(need_group=False)
    configure_logging(settings.log.level, settings.log.format)
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop, codec = stop_on_signals(), settings.codec
    encryption = temporal_access(settings).encryption
    if encryption is None:
        raise ConfigurationError(
            "nothing is encrypted; set TURNOUT_ENCRYPTION__KEYS_FILE to the file of keys that bridges have"
        )
    for exposed in read_by_others(list(settings.secret_files())):
        log.warning("a secret is not secret", reason=exposed)
    async with letting_in(codec.token_file, "TURNOUT_CODEC__TOKEN_FILE", settings.api.jwt) as guard:
        if guard is None and not is_this_machine(codec.address):
            raise ConfigurationError(
                "TURNOUT_CODEC__ADDRESS is reached from other machines, and whoever asks would see all "
                "payloads; set TURNOUT_CODEC__TOKEN_FILE to a file with a token per line, or "
                "TURNOUT_API__JWT__JWKS, or listen at 127.0.0.1"
            )
        server = CodecServer(
            encryption.codec, guard, origins=codec.allowed_origins, namespaces=codec.allowed_namespaces
        )
        at = serving(
            server.app(),
            codec.address,
            "TURNOUT_CODEC__ADDRESS",
            at_once=AT_ONCE,
            grace_seconds=GRACE_SECONDS,
        )
        async with at:
            log.info("payloads are decrypted", address=codec.address, origins=codec.allowed_origins)
            await stop.wait()


def make_key(
    key_id: Annotated[
        str,
        typer.Argument(
            metavar="[ID]", help="Its id: letters, digits, . _ -; absent, today's date.", show_default=False
        ),
    ] = "",
) -> None:
    """Print a line with a new key for TURNOUT_ENCRYPTION__KEYS_FILE. Nobody else has it: keep it."""
    try:
        line = new_key(key_id or f"{datetime.now(UTC):%Y-%m-%d}")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(line)
