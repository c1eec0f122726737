"""Measurements: turnout beside a naive bridge and the bare SDK, on one server, in one run."""
