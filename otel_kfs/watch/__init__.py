"""Measuring while traffic flows: spans come in by OTLP, images' figures go out as tables, pages and metrics.

    core/        spans in any order -> images as they are complete -> figures of now; no I/O, no clock
    receiver/    OTLP over gRPC and HTTP; what keeps spans in a file and hands them on
    display/     what people look at: the terminal's table, the page
    metrics/     what other programs are told: Prometheus, OTLP
    in_process/  the same of a process's own spans: OpenTelemetry's processor and exporter, pytest's fixture

All meet in two things. `core.live_measurement.LiveMeasurement` takes spans and is asked for a
`core.snapshot.Snapshot`, all figures of a moment, as often as something is to be drawn. Who needs every single image is
a `core.snapshot.Observer`, and is given to `LiveMeasurement` when that is made.

A page is a list of Starlette routes, made of a function that returns the latest snapshot; a terminal's table is what
Rich draws of one snapshot. `otel-kfs watch` (`cli/commands/watch.py`) puts all of it together.
"""
