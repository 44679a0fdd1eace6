"""Several records in one request to the model: what can be merged, and whose answer is whose."""
