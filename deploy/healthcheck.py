"""The image's health check: exit 0 while the loops of the service turn, 1 when they do not.

It asks `/livez` where `TURNOUT_HEALTH__ADDRESS` has it served, from inside the container; where nothing is
served, nothing is checked. On the standard library alone, since it runs every few seconds.
"""

import http.client
import os
import sys

ANSWERS_WITHIN_S = 4.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}  # noqa: S104 - not listened on: replaced


def problem(address: str) -> str | None:
    """Say why what is served at `address` (`host:port`) is not alive, or None when it is."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return f"TURNOUT_HEALTH__ADDRESS={address!r} is not host:port"
    host = _ANY_ADDRESS.get(host, host.strip("[]"))
    connection = http.client.HTTPConnection(host, int(port), timeout=ANSWERS_WITHIN_S)
    try:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        text = answer.read(2_000).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return f"http://{address}/livez does not answer: {error or type(error).__name__}"
    finally:
        connection.close()
    return None if answer.status == http.client.OK else f"/livez answered {answer.status}: {text}"


def main() -> int:
    """Check what the environment names; what is wrong goes to where Docker keeps it."""
    address = os.environ.get("TURNOUT_HEALTH__ADDRESS", "")
    wrong = problem(address) if address else None
    if wrong:
        sys.stderr.write(wrong + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
