"""What the service needs around it: topics, rights, namespaces, search attributes; said, made, and judged."""
