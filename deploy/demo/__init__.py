"""A shop and its neighbours, to see turnout at work."""
