"""A module that workflows import."""
