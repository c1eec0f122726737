"""How turnout is deployed, and a demo of it."""
