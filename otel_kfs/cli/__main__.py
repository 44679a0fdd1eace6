"""`python -m otel_kfs.cli`."""

from otel_kfs.cli import main

main()
