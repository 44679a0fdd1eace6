"""A process's own spans, and the tables and metrics of them in the process itself.

kept_spans.py             spans, and what their images' paths say
segment_exporter.py       OpenTelemetry's exporter and processor that keep them
image_stream.py           each image, as it is complete, for metrics
attached_processor.py     a processor on the process's own provider, for a while
pytest_plugin.py          the fixture `otel_kfs_traces`
"""
