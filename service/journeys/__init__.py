"""Where a record is on its way, and how far its group is: computed from Kafka and Temporal alone."""
