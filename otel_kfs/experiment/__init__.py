"""Images sent by every combination of a matrix of settings, in a fair order, and the combinations ranked."""
