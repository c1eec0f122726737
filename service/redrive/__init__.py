"""Letters looked at again: what lies open, which of it is meant, and how it is sent again or discarded."""
