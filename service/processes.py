"""Several processes of one kind, as one: a parent starts them, stops them together, and ends as they do."""

import asyncio
import os
import signal
import sys

import structlog

from service.lifecycle import stop_on_signals
from service.local import Child

log = structlog.get_logger(__name__)


async def run_processes(command: str, count: int) -> int:
    """Run `turnout COMMAND` `count` times, until we are told to stop or one of them ends; then end all.

    Nothing is started anew: that is for whoever started us, who sees one process and one exit code.

    Returns:
        The exit code of the first that failed, for a signal 128 and its number; 0 if none did.
    """
    children = [_child(command, number) for number in range(1, count + 1)]

    def kill_all() -> None:
        for child in children:
            child.kill()

    stop, codes = stop_on_signals(at_once=kill_all), list[int]()

    async def watch(child: Child) -> None:
        code = await child.wait()
        if stop.is_set() and code == -signal.SIGTERM:
            code = 0  # it was told before it could listen
        codes.append(code if code >= 0 else 128 - code)
        if codes[-1] or not stop.is_set():
            log.error("a process ended, and so do all", name=child.name, code=codes[-1])
        # Also for one that failed at nothing: with fewer than were asked for, nobody would see what is wrong.
        stop.set()

    try:
        for child in children:
            child.start()
        log.info("processes started", pids=[child.pid for child in children])
        async with asyncio.TaskGroup() as tasks:
            for child in children:
                tasks.create_task(watch(child))
            await stop.wait()
            for child in children:
                child.send_signal(signal.SIGTERM)
    finally:
        kill_all()
    return next(filter(None, codes), 0)


def _child(command: str, number: int) -> Child:
    # The same modules are found as in this process, and no others (-P): not those of the folder we are in.
    argv = [sys.executable, "-P", "-m", "service", command, "--process", str(number)]
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return Child(f"process {number}", argv, env=path, log_path=None)
