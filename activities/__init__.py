"""Activities: the steps of workflows that touch the world."""
