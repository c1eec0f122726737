"""The files that `turnout init` writes."""
