"""A process's own spans, and the tables of them in the process itself."""
