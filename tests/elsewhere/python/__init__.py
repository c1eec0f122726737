"""A plain service in Python, written with confluent-kafka."""
