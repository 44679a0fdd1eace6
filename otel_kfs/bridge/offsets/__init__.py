"""How far a bridge has come in each partition, and what of that is committed."""
