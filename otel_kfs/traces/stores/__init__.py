"""Trace stores that are asked over the network: Jaeger, Tempo, ClickHouse."""
