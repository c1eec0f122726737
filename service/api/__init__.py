"""What clients ask directly, over HTTP or gRPC, of the same routes and the same dispatch as records."""
