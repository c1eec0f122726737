"""What workers are tested with."""
