"""What may be said to workflows, as each released version had it."""
