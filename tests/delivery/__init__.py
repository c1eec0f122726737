"""Delivery under crashes: a ledger of what was produced, faults by a seed, a checker of what came of it."""
