"""What Docker runs to learn whether a container is alive."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "deploy/healthcheck.py"


@contextmanager
def _serving(status: int, host: str = "127.0.0.1") -> Iterator[int]:
    """Answer /livez with `status` in this block, at the port that is given."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/livez" else 404)
            self.end_headers()
            self.wfile.write(b'{"loops": "intake"}')

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((host, 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _check(address: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TURNOUT_HEALTH__ADDRESS": address}
    argv = [sys.executable, "-I", str(CHECK)]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_it_asks_from_inside_what_is_served_on_any_address() -> None:
    with _serving(200) as port:
        assert _check(f"0.0.0.0:{port}").returncode == 0


def test_what_is_not_alive_is_said_with_its_answer() -> None:
    with _serving(503) as port:
        done = _check(f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr == '/livez answered 503: {"loops": "intake"}\n'


def test_what_does_not_answer_is_not_alive() -> None:
    with _serving(200) as port:
        pass
    done = _check(f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"http://127.0.0.1:{port}/livez does not answer: ")


@pytest.mark.parametrize("address", ["", "no port"])
def test_where_nothing_is_served_nothing_is_checked_and_what_is_no_address_is_said(address: str) -> None:
    done = _check(address)
    assert (done.returncode, done.stderr) == (
        (0, "") if not address else (1, "TURNOUT_HEALTH__ADDRESS='no port' is not host:port\n")
    )
