"""The demo: the MobileNet example run on one machine, with everything that it needs."""
