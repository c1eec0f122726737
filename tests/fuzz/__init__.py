"""Arbitrary bytes, YAML and expressions end in a typed answer, and never in a crash or a hang."""
