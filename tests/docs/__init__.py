"""Every fenced example of every page is tried; tests/integration runs what needs servers."""
