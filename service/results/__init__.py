"""The Kafka half of results: what workflows publish."""
