"""Where spans are read from, and the one shape that they are read into."""
