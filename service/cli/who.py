"""Who runs a command."""

import getpass


def user(otherwise: str) -> str:
    """The name of who runs this process, or `otherwise`: the user of a container often has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return otherwise
