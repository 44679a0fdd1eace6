"""What an experiment's TOML file may hold, and the configuration that it becomes."""
