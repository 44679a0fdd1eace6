"""Every metric: its name, unit and kind, by OpenTelemetry's conventions, and what Prometheus calls it.

Sources: OpenTelemetry semantic conventions, metrics (names are not plural, units are UCUM, what is counted is in
braces); OpenTelemetry's specification of the compatibility with Prometheus (units become a suffix, counters `_total`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, NamedTuple, Protocol

from otel_kfs import semconv
from otel_kfs.traces.span import Key

# From half a millisecond to five minutes: what an image of some megabytes may take, anywhere on its path.
BUCKETS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)

SEGMENT: Final = "otel_kfs.segment"
SIZE_CLASS: Final = "otel_kfs.size_class"
REASON: Final = "otel_kfs.reason"
OF_IMAGE: Final = (semconv.TRANSPORT, semconv.ENCODING, semconv.COMPRESSION, semconv.CELL, SIZE_CLASS)

Attributes = tuple[tuple[str, str], ...]  # keys with their values, without those that an image lacks


class MetricKind(Enum):
    """What can be done with a metric's values."""

    HISTOGRAM = "histogram"
    COUNTER = "counter"
    GAUGE = "gauge"


class Metric(NamedTuple):
    """One metric; `attributes` are those that a series of it may have."""

    name: str
    kind: MetricKind
    unit: str
    description: str
    attributes: tuple[str, ...] = ()

    @property
    def prometheus_name(self) -> str:
        """Its name in Prometheus, without `_total`."""
        return self.name.replace(".", "_") + ("_seconds" if self.unit == "s" else "")


class Recorder(Protocol):
    """Takes values, for one way out."""

    def duration(self, metric: Metric, seconds: float, attributes: Attributes, image: Key) -> None:
        """Take one duration of an image, whose trace and root may serve as an example."""

    def count(self, metric: Metric, by: int, attributes: Attributes) -> None:
        """Count up."""


class CurrentValue(NamedTuple):
    """What a metric stands at, where somebody else counts."""

    metric: Metric
    value: int
    attributes: Attributes = ()


class CurrentValues(Protocol):
    """Returns what is counted elsewhere, when it is asked for."""

    def __call__(self) -> Iterable[CurrentValue]:
        """Return all, those that are 0 among them."""


def _counter(name: str, of: str, description: str, *attributes: str) -> Metric:
    return Metric(f"otel_kfs.{name}", MetricKind.COUNTER, f"{{{of}}}", description, attributes)


SEGMENT_DURATION: Final = Metric(
    "otel_kfs.segment.duration",
    MetricKind.HISTOGRAM,
    "s",
    "Time that an image spent in a segment of its path; the segments of an image add up to its total.",
    (SEGMENT, *OF_IMAGE),
)
TOTAL_DURATION: Final = Metric(
    "otel_kfs.total.duration",
    MetricKind.HISTOGRAM,
    "s",
    "Time from the start of sending an image to its answer (4-1).",
    OF_IMAGE,
)
MEASURED: Final = _counter("image.measured", "image", "Images that were measured.", semconv.TRANSPORT)
LEFT_OUT: Final = _counter("image.left_out", "image", "Images that can't be measured, and why.", REASON)
CORRECTED: Final = _counter("image.corrected", "image", "Images that late spans changed after they were counted.")
NEGATIVE: Final = _counter(
    "segment.negative", "segment", "Durations that are not counted, because clocks make them negative."
)
UNBOUNDED: Final = _counter(
    "segment.unbounded",
    "segment",
    "Durations that are not counted, because nothing bounds the clocks that they were read on.",
)
OVERFLOW: Final = _counter(
    "series.overflow", "recording", "Recordings that went to the series `other`, because there are too many series."
)
RECEIVED: Final = _counter("span.received", "span", "Spans that came.")
DUPLICATE: Final = _counter("span.duplicate", "span", "Spans that were there already, as after a repeated export.")
LATE: Final = _counter("span.late", "span", "Spans that came after their image was measured, and corrected it.")
DROPPED: Final = _counter("span.dropped", "span", "Spans that were not measured, and why.", REASON)
REFUSED: Final = _counter("request.refused", "request", "Export requests that were not taken, and why.", REASON)
NOT_FORWARDED: Final = _counter("span.not_forwarded", "span", "Spans that could not be handed on.")
INCOMPLETE: Final = _counter("trace.incomplete", "trace", "Traces that were measured although something lacks.", REASON)
OPEN: Final = Metric("otel_kfs.trace.open", MetricKind.GAUGE, "{trace}", "Traces that are not complete yet.")

RECORDED: Final = (SEGMENT_DURATION, TOTAL_DURATION, MEASURED, LEFT_OUT, CORRECTED, NEGATIVE, UNBOUNDED, OVERFLOW)
RUNNING: Final = (RECEIVED, DUPLICATE, LATE, DROPPED, REFUSED, NOT_FORWARDED, INCOMPLETE, OPEN)
ALL: Final = RECORDED + RUNNING
