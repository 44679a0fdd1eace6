"""From spans in any order to live figures: no I/O and no clock in here; what time it is, is an argument."""
