"""Tests against a scripted Temporal frontend: each answer, over the wire."""
