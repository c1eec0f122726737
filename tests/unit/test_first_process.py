"""The first process of a container, to which the kernel gives no signal that it has no handler for."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

FIRST = """
import os, signal, sys
from service.lifecycle import end_on_sigterm_as_first_process
end_on_sigterm_as_first_process()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(bool(os.geteuid()) or not shutil.which("unshare"), reason="needs root, and unshare")
def test_sigterm_ends_it_before_it_has_learned_to_drain() -> None:
    argv = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", FIRST]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "1\n"
        children = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
        )
        os.kill(int(children.stdout), signal.SIGTERM)
        try:
            assert process.wait(30) == 128 + signal.SIGTERM
        finally:
            process.stdin.close()


def test_other_processes_are_left_as_they_are() -> None:
    script = "from service.lifecycle import *; end_on_sigterm_as_first_process()"
    script += "; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
