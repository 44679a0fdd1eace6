"""Where spans leave the process: the exporter, what it may send, the traces file, and what an endpoint speaks."""
