"""The command line as a whole: families of commands, and what an error says and exits with."""

import logging
import sys
from contextlib import redirect_stdout
from typing import TextIO, cast

import typer

from service.cli import (
    closing,
    dev,
    documents,
    init,
    letters,
    operate,
    parked,
    replay,
    replay_check,
    routes,
    run,
    seek,
    switchboard,
)
from service.cli.output import Output, OutputLost, open_what_is_closed
from service.errors import ConfigurationError, NotNow, Unreachable
from service.lifecycle import leave

OK, WRONG, UNREACHABLE, INTERRUPTED = 0, 1, 3, 130
NOBODY_READS = 141
"""As shells tell of a program that wrote to a pipe that was closed."""

app = typer.Typer(
    name="turnout",
    help="Kafka events start and signal Temporal workflows; their results go back to Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
run.add_to(app)
init.add_to(app)
dev.add_to(app)
operate.add_to(app)
switchboard.add_to(app)
letters.add_to(app)
seek.add_to(app)
parked.add_to(app)
replay.add_to(app)
replay_check.add_to(app)
closing.add_to(app)
routes.add_to(app)
documents.add_to(app)


def main() -> None:
    """Run one command; exit 0 done, 1 something is wrong or lost, 2 usage, 3 a neighbour is not there."""
    open_what_is_closed()
    with redirect_stdout(cast("TextIO", Output(sys.stdout))):
        code = _run()
    leave(code)


def _run() -> int:
    try:
        code = _command()
        sys.stdout.flush()
    except OutputLost as lost:
        return NOBODY_READS if lost.closed else _say(str(lost), WRONG)
    return code


def _command() -> int:
    try:
        app(prog_name="turnout")
    except SystemExit as ended:  # how typer ends, after it said what is wrong with the usage
        return ended.code if isinstance(ended.code, int) else OK
    except ConfigurationError as error:
        return _say(str(error), WRONG)
    except (Unreachable, NotNow) as error:
        return _say(str(error), UNREACHABLE)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OutputLost:
        raise
    except Exception:
        # Left to Python, the process might end by a signal instead of a code.
        logging.getLogger(__name__).exception("this is a defect of turnout")
        return WRONG
    return OK


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"turnout: {text}\n")
    return code
