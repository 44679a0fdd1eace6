"""One POST to a model: what is sent, what is taken for an answer, and within which limits."""
