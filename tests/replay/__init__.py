"""Histories of turnout's own workflows, and what must still replay them."""
