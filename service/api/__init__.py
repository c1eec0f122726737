"""What a client may ask of us while it waits, over HTTP and gRPC."""
