"""From a record's bytes to an event, and from a result event to a record's bytes."""
