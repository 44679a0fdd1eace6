"""A matrix of ways of sending images: planned from a TOML file, sent in a fair order, ranked from the traces."""
