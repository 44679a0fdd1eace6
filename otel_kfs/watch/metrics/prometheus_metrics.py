"""The metrics for Prometheus, written by prometheus_client: OpenMetrics, with exemplars that hold the trace's id.

What is recorded is kept in plain columns: the library's own instruments take microseconds a value, and an image has
some 25. Nor do they make native histograms (0.26 writes those that a program computes itself, as OpenMetrics
2.0 text, for which no release of Prometheus asks): those come by OTLP, see otlp_metrics.py.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from otel_kfs.traces.span import Key
from otel_kfs.watch.metrics.definitions import (
    ALL,
    BUCKETS,
    RECORDED,
    Attributes,
    CurrentValues,
    Metric,
    MetricKind,
)

_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")
_FAMILIES = {
    MetricKind.HISTOGRAM: HistogramMetricFamily,
    MetricKind.COUNTER: CounterMetricFamily,
    MetricKind.GAUGE: GaugeMetricFamily,
}


class _Example(NamedTuple):
    """An image in a bucket: its trace and root span, the duration and the time, s."""

    image: Key
    seconds: float
    at: float


class _HistogramSeries:
    """The durations of one series, by bucket, with the last image in each."""

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.examples: list[_Example | None] = [None] * len(_BOUNDS)
        self.sum = 0.0

    def buckets(self) -> list[tuple[str, int, Exemplar | None]]:
        """Return each bound, how many are not above it, and an example of those that are above the bound before."""
        return [
            (bound, count, one and Exemplar({"trace_id": one.image[0], "span_id": one.image[1]}, one.seconds, one.at))
            for bound, count, one in zip(_BOUNDS, accumulate(self.counts), self.examples, strict=True)
        ]


class PrometheusMetrics:
    """A recorder that keeps what it is given until Prometheus fetches it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._histograms: dict[Metric, dict[Attributes, _HistogramSeries]] = defaultdict(dict)
        self._counts: dict[Metric, dict[Attributes, int]] = defaultdict(lambda: defaultdict(int))
        self._current: list[CurrentValues] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def duration(self, metric: Metric, seconds: float, attributes: Attributes, image: Key) -> None:
        """Take one duration of an image."""
        bucket = bisect_left(BUCKETS, seconds)
        with self._lock:
            series = self._histograms[metric].get(attributes)
            if series is None:
                series = self._histograms[metric][attributes] = _HistogramSeries()
            series.counts[bucket] += 1
            series.sum += seconds
            series.examples[bucket] = _Example(image, seconds, time.time())

    def count(self, metric: Metric, by: int, attributes: Attributes) -> None:
        """Count up."""
        with self._lock:
            self._counts[metric][attributes] += by

    def add(self, current: CurrentValues) -> None:
        """Show what is counted elsewhere, too, as it is when it is asked for."""
        self._current.append(current)

    def routes(self) -> list[Route]:
        """Return `/metrics`; it is answered in a thread of its own."""

        def metrics(request: Request) -> Response:
            encode, content_type = choose_encoder(request.headers.get("accept", ""))
            return Response(encode(self._registry), headers={"content-type": content_type, "cache-control": "no-store"})

        return [Route("/metrics", metrics)]

    def collect(self) -> Iterable[Any]:
        """Return every metric with its series: what prometheus_client asks its collectors for."""
        families = {metric: _family(metric) for metric in ALL}
        with self._lock:
            for metric in RECORDED:
                for attributes, series in self._histograms[metric].items():
                    families[metric].add_metric(_values(metric, attributes), series.buckets(), series.sum)
                counts = self._counts[metric]
                if not metric.attributes:
                    counts[()] += 0  # a counter without attributes is there from the start
                for attributes, count in counts.items() if metric.kind is MetricKind.COUNTER else ():
                    families[metric].add_metric(_values(metric, attributes), count)
        for current in self._current:
            for metric, value, attributes in current():
                families[metric].add_metric(_values(metric, attributes), value)
        return families.values()


def _family(metric: Metric) -> Any:
    labels = [key.replace(".", "_") for key in metric.attributes]
    return _FAMILIES[metric.kind](
        metric.prometheus_name, metric.description, labels=labels, unit="seconds" if metric.unit == "s" else ""
    )


def _values(metric: Metric, attributes: Attributes) -> list[str]:
    """Return a value for each label; an empty one is the same for Prometheus as none."""
    found = dict(attributes)
    return [found.get(key, "") for key in metric.attributes]
