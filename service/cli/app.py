"""The command line as a whole: families of commands, and what an error says and exits with."""

import logging
import sys

import typer

from service.cli import dev, letters, operate, parked, replay_check, run, seek, switchboard
from service.errors import ConfigurationError, NotNow, Unreachable
from service.lifecycle import leave

OK, WRONG, UNREACHABLE = 0, 1, 3

app = typer.Typer(
    name="turnout",
    help="Kafka events start and signal Temporal workflows; their results go back to Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
run.add_to(app)
dev.add_to(app)
operate.add_to(app)
switchboard.add_to(app)
letters.add_to(app)
seek.add_to(app)
parked.add_to(app)
replay_check.add_to(app)


def main() -> None:
    """Run one command; exit 0 done, 1 something written is wrong, 2 usage, 3 a neighbour is not there."""
    leave(_run())


def _run() -> int:
    try:
        app(prog_name="turnout")
    except SystemExit as ended:  # how typer ends, after it said what is wrong with the usage
        return ended.code if isinstance(ended.code, int) else OK
    except ConfigurationError as error:
        return _say(str(error), WRONG)
    except (Unreachable, NotNow) as error:
        return _say(str(error), UNREACHABLE)
    except KeyboardInterrupt:
        return 130
    except Exception:
        # Left to Python, the process might end by a signal instead of a code.
        logging.getLogger(__name__).exception("this is a defect of turnout")
        return WRONG
    return OK


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"turnout: {text}\n")
    return code
