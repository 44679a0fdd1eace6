"""From a topic to a model: the loop, offsets, the pool that keeps a key's order, retries, dead letters, redrive."""
