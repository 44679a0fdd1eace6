"""What other programs are told of the images: one definition of every metric, for Prometheus to fetch and by OTLP.

definitions.py          every metric: name, unit, buckets
image_metrics.py        each image as it is measured -> durations and counts, a bounded number of series
running_counts.py       what the service counts: spans that came, late, lost
prometheus_metrics.py   for prometheus_client, and the `/metrics` route
otlp_metrics.py         for OpenTelemetry's SDK, and its exporter
"""
