"""A process's provider, exporter and last flush; tracers that never raise; what is redacted from spans."""
