"""What is done with records: `process` spans of one, of several at once, and of the rounds of a loop."""
