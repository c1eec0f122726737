"""The Temporal UI as the operator's console: what it must show, looked at in a browser; `make console`."""
