"""Workflows, and the contracts of what may be said to them."""
