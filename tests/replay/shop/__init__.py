"""The sample's recorded workflows; deleted with it."""
