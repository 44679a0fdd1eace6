"""Calls of models by OpenAI's routes, as the conventions for generative AI have them; for servers and for senders."""
