"""Connections to Temporal: the client and the worker."""
