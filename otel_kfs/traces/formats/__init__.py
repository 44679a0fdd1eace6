"""What a trace file or an answer may be written in, and how spans are read from it."""
