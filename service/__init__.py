"""The bridge between Kafka and Temporal: record, intake, events, routing, dispatch, and results back."""
