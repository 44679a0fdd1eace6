"""The same metrics by OTLP: OpenTelemetry's SDK and exporter, with a provider that is not the process's own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Counter, Histogram, MeterProvider, Observation
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from otel_kfs import __version__, semconv
from otel_kfs.errors import ConfigError
from otel_kfs.traces.span import Key
from otel_kfs.watch.metrics.definitions import (
    BUCKETS,
    RECORDED,
    RUNNING,
    Attributes,
    CurrentValue,
    CurrentValues,
    Metric,
    MetricKind,
)

SERVICE = "otel-kfs-watch"
_GRPC_PORT = 4317
_PATH = "/v1/metrics"
_SECONDS = 10.0  # between two exports


class OtlpMetrics:
    """Hands what is recorded to the instruments of a meter provider.

    OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=base2_exponential_bucket_histogram makes exponential
    histograms of the durations, which are Prometheus' native ones.
    """

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = provider.get_meter("otel_kfs", __version__)
        self._histograms: dict[Metric, Histogram] = {}
        self._counters: dict[Metric, Counter] = {}
        for one in RECORDED:
            if one.kind is MetricKind.HISTOGRAM:
                self._histograms[one] = self._meter.create_histogram(
                    one.name, one.unit, one.description, explicit_bucket_boundaries_advisory=BUCKETS
                )
            else:
                self._counters[one] = self._meter.create_counter(one.name, one.unit, one.description)

    def duration(self, metric: Metric, seconds: float, attributes: Attributes, image: Key) -> None:
        """Take one duration of an image, which may become an exemplar."""
        self._histograms[metric].record(seconds, dict(attributes), _context(image))

    def count(self, metric: Metric, by: int, attributes: Attributes) -> None:
        """Count up."""
        self._counters[metric].add(by, dict(attributes))

    def add(self, current: CurrentValues) -> None:
        """Send what is counted elsewhere, too, as it is at each export."""
        for metric in RUNNING:
            create: Callable[..., Any] = (
                self._meter.create_observable_up_down_counter
                if metric.kind is MetricKind.GAUGE
                else self._meter.create_observable_counter
            )
            create(metric.name, [_observer(metric, current)], metric.unit, metric.description)


def otlp_provider(url: str) -> SdkMeterProvider:
    """Return a provider whose metrics go to a URL every few seconds; `grpc://host:4317`, `http(s)://host:4318`.

    Raises:
        ConfigError: it is no such URL.
    """
    return provider_of(PeriodicExportingMetricReader(_exporter(url), export_interval_millis=1000 * _SECONDS))


def provider_of(reader: MetricReader) -> SdkMeterProvider:
    """Return a provider that a reader reads."""
    resource = Resource.create({semconv.SERVICE_NAME: SERVICE})
    return SdkMeterProvider([reader], resource, shutdown_on_exit=False)


def _exporter(url: str) -> MetricExporter:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https", "grpc", "grpcs"} and bool(parts.hostname)
        port = parts.port
    except ValueError:
        known = False
    if not known:
        raise ConfigError(f"--otlp-metrics {url}: give a URL such as http://localhost:4318 or grpc://localhost:4317")
    if parts.scheme.startswith("grpc") or (port == _GRPC_PORT and parts.path in {"", "/"}):
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        secure = parts.scheme in {"grpcs", "https"}
        return GrpcExporter(f"{'https' if secure else 'http'}://{parts.netloc}", insecure=not secure)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter

    return HttpExporter(url if parts.path not in {"", "/"} else f"{parts.scheme}://{parts.netloc}{_PATH}")


def _observer(metric: Metric, current: CurrentValues) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        by_attributes: dict[Attributes, int] = defaultdict(int)
        one: CurrentValue
        for one in current():
            if one.metric == metric:
                by_attributes[one.attributes] += one.value
        return [Observation(value, dict(attributes)) for attributes, value in by_attributes.items()]

    return observe


def _context(image: Key) -> Context | None:
    """Return a context in the image's root span: what an exemplar takes its ids from."""
    try:
        trace_id, span_id = int(image[0], 16), int(image[1].partition("/")[0], 16)
    except ValueError:
        return None
    context = trace.SpanContext(
        trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(context), Context())
