"""The soak run: `python -m benchmarks.soak`."""
