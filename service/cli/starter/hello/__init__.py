"""Workflows and activities that greet visitors."""
