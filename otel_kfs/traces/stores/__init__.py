"""Trace stores queried over the network: Jaeger, Tempo, ClickHouse."""
