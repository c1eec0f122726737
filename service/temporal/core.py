"""The SDK's core: its runtime, and where its metrics are."""

import socket
from dataclasses import dataclass
from functools import cache

from temporalio.runtime import LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig, TelemetryFilter

TRIES = 5


@dataclass(frozen=True, slots=True)
class Core:
    """A runtime, and the port of this machine at which it serves its metrics; 0: it has none."""

    runtime: Runtime
    port: int = 0


def core(*, measured: bool = False) -> Core:
    """The runtime of this process; one that counts, if it is to be `measured`.

    Quiet: its own retries are warnings by the hundred in an outage. It counts by itself, without a line of
    Python for each call; so it is asked for what it has counted when someone asks us, and nobody else needs
    to know of its port.
    """
    return _measured() if measured else _unmeasured()


@cache
def _unmeasured() -> Core:
    return Core(_runtime(None))


@cache
def _measured() -> Core:
    for attempt in range(TRIES):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        try:
            return Core(_runtime(port), port)
        except ValueError:  # someone was quicker
            if attempt == TRIES - 1:
                raise
    raise AssertionError


def _runtime(port: int | None) -> Runtime:
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR")),
            metrics=PrometheusConfig(
                f"127.0.0.1:{port}", counters_total_suffix=True, unit_suffix=True, durations_as_seconds=True
            )
            if port
            else None,
            attach_service_name=False,  # the same on each line
        )
    )
