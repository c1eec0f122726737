"""Builds of `turnout letters` that are broken on purpose: `python -m tests.delivery.broken_sending NAME …`.

`sound` replaces nothing. All of them follow one that was killed after two seconds, instead of ten.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace as with_other

import service.kafka.membership
from service.cli.app import main as turnout
from service.failures.letters import Letter
from service.kafka.record import Record, Redelivery
from tests.delivery.broken import replace

SESSION_SECONDS = 2


def all_routes() -> None:
    """A letter goes by all routes that take its event, as if it came by Kafka once more."""

    def again(self: Letter) -> Record:
        redelivery = Redelivery(route="", sends=self.sends + 1, first_failed_at=self.first_failed_at)
        return with_other(self.record, redelivery=redelivery)

    replace(Letter, "again", lambda _: again)


BUILDS: dict[str, Callable[[], None]] = {"sound": lambda: None, "all-routes": all_routes}


def main(arguments: Iterable[str]) -> None:
    """Break the command as the first argument says, and run it with the others."""
    name, *others = arguments
    BUILDS[name]()
    replace(service.kafka.membership, "SESSION_SECONDS", lambda _: SESSION_SECONDS)
    sys.argv[1:] = others
    turnout()


if __name__ == "__main__":
    main(sys.argv[1:])
