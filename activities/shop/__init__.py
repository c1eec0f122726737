"""The sample domain's activities."""
