"""A topic's past through one route: how much of it there is, how it is read, and what becomes of it."""
