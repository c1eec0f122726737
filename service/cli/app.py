"""The command line as a whole: families of commands, and what an error says and exits with."""

import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from typing import TextIO, cast

import typer

from service.cli.output import Output, OutputLost, open_what_is_closed
from service.errors import ConfigurationError, NotNow, Unreachable
from service.lifecycle import end_on_sigterm_as_first_process, leave

OK, WRONG, UNREACHABLE, INTERRUPTED = 0, 1, 3, 130
NOBODY_READS = 141
"""As shells tell of a program that wrote to a pipe that was closed."""

FAMILIES: Mapping[str, Sequence[str]] = {
    "run": ("run", "bridge", "worker"),
    "init": ("init",),
    "dev": ("dev",),
    "operate": ("emit", "tail"),
    "where": ("where",),
    "status": ("status", "top"),
    "switchboard": ("pause", "resume", "paused"),
    "letters": ("letters",),
    "seek": ("seek",),
    "parked": ("parked",),
    "replay": ("replay",),
    "replay_check": ("replay-check",),
    "closing": ("closing",),
    "codec": ("codec",),
    "routes": ("routes",),
    "documents": ("docs",),
    "ui": ("ui",),
    "setup": ("setup",),
    "doctor": ("doctor",),
}
"""The modules of the families in the order of the help, and the first words of their commands."""


def make_app(words: Sequence[str] = ()) -> typer.Typer:
    """The command line; of all families, or where `words` begin with a command's, of that one alone.

    What the others import would take a second of each command.
    """
    app = typer.Typer(
        name="turnout",
        help="Kafka events start and signal Temporal workflows; their results go back to Kafka.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(lambda: None)  # else one command alone would be the whole of it
    first = words[0] if words else ""
    for family in [name for name, firsts in FAMILIES.items() if first in firsts] or FAMILIES:
        import_module(f"service.cli.{family}").add_to(app, words[1:])
    return app


def main() -> None:
    """Run one command; exit 0 done, 1 something is wrong or lost, 2 usage, 3 a neighbour is not there."""
    end_on_sigterm_as_first_process()
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
        make_app(sys.argv[1:])(prog_name="turnout")
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
