"""Addresses of neighbours: which of them are this machine."""

from ipaddress import ip_address


def is_this_machine(address: str) -> bool:
    """Whether `address` (`host:port`) is of this machine; of names, only `localhost` is known to be."""
    host = address.strip().rpartition(":")[0].strip("[]").rstrip(".").lower()
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
