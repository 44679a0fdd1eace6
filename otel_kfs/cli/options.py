"""What several commands read from their options."""

from __future__ import annotations


def properties(file: str | None) -> dict[str, str]:
    """The settings in a file in Kafka's properties format; none without a file."""
    from otel_kfs.kafka.config import read_properties

    return read_properties(file) if file else {}
