"""Each image, as it is measured, as values of metrics: a bounded number of series, whatever is in the spans.

What Prometheus has counted can't be taken back: an image counts as it was when it was measured, and late spans that
change it are counted (`otel_kfs.image.corrected`), while tables follow them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from otel_kfs import semconv
from otel_kfs.analysis.paths.critical_path import CriticalPath
from otel_kfs.analysis.paths.segment import Segment
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.printable import printable
from otel_kfs.watch.metrics.definitions import (
    CORRECTED,
    LEFT_OUT,
    MEASURED,
    NEGATIVE,
    OVERFLOW,
    REASON,
    SEGMENT,
    SEGMENT_DURATION,
    SIZE_CLASS,
    TOTAL_DURATION,
    UNBOUNDED,
    Attributes,
    Metric,
    Recorder,
)

MOST_SERIES = 1000  # of one metric
OTHER = "other"
UNKNOWN = "unknown"
_LONGEST = 120  # characters of a value
_THOUSAND = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)
_UNITS = ("B", "kB", "MB", "GB")
_CLASSES = (
    (1, "0-1B"),
    *(
        (high * 1000**power, f"{low}-{high}{unit}")
        for power, unit in enumerate(_UNITS)
        for low, high in pairwise(_THOUSAND)
    ),
)


class ImageMetrics:
    """An observer of a live measurement: hands every image's values to the recorders."""

    def __init__(self, recorders: Sequence[Recorder], most_series: int = MOST_SERIES) -> None:
        self._recorders, self._most = recorders, most_series
        self._known: dict[Metric, set[Attributes]] = defaultdict(set)

    def measured(self, path: CriticalPath) -> None:
        """Count an image, its total and its segments."""
        of_image = _of_image(path)
        self._count(MEASURED, 1, ((semconv.TRANSPORT, _value(path.transport or UNKNOWN)),))
        self._duration(TOTAL_DURATION, path.stamps[3] - path.stamps[0], path.total_bound, of_image, path)
        durations: dict[Segment, int] = defaultdict(int)
        bounds: dict[Segment, float] = defaultdict(float)
        for section in path.sections:
            durations[section.segment] += section.duration
            bounds[section.segment] += section.bound
        for segment, nanoseconds in durations.items():
            attributes = ((SEGMENT, _value(segment_name(segment))), *of_image)
            self._duration(SEGMENT_DURATION, nanoseconds, bounds[segment], attributes, path)

    def left_out(self, reason: str, count: int) -> None:
        """Count images that can't be measured; one that was measured after all stays counted here, too."""
        if count > 0:
            self._count(LEFT_OUT, count, ((REASON, _value(reason)),))

    def corrected(self, before: CriticalPath, after: CriticalPath | None) -> None:  # noqa: ARG002 - an Observer's
        """Count that late spans changed an image."""
        self._count(CORRECTED, 1, ())

    def _duration(
        self, metric: Metric, nanoseconds: int, bound: float, attributes: Attributes, path: CriticalPath
    ) -> None:
        if math.isinf(bound):
            self._count(UNBOUNDED, 1, ())
            return
        if nanoseconds < 0:
            self._count(NEGATIVE, 1, ())
            return
        bounded = self._bounded(metric, attributes)
        for recorder in self._recorders:
            recorder.duration(metric, nanoseconds / 1e9, bounded, path.key)

    def _count(self, metric: Metric, by: int, attributes: Attributes) -> None:
        bounded = self._bounded(metric, attributes)
        for recorder in self._recorders:
            recorder.count(metric, by, bounded)

    def _bounded(self, metric: Metric, attributes: Attributes) -> Attributes:
        """Return the attributes, or where there are too many series `other` for each."""
        known = self._known[metric]
        if attributes in known:
            return attributes
        if len(known) < self._most:
            known.add(attributes)
            return attributes
        for recorder in self._recorders:
            recorder.count(OVERFLOW, 1, ())
        return tuple((key, OTHER) for key, _ in attributes)


def size_class(image_size: int | None, payload_size: int | None) -> str:
    """Return between which sizes an image lies, bytes, `1-2MB`, its payload where only that is known.

    The upper end belongs to it. Classes are fixed, unlike the labels in tables, so that series of one day fit those of
    another.
    """
    size = payload_size if image_size is None else image_size
    if size is None:
        return UNKNOWN
    label = next((label for high, label in _CLASSES if size <= high), f"1000{_UNITS[-1]}+")
    return label if image_size is not None else f"{label} JSON"


def _of_image(path: CriticalPath) -> Attributes:
    values = (
        (semconv.TRANSPORT, path.transport or UNKNOWN),
        (semconv.ENCODING, path.encoding),
        (semconv.COMPRESSION, path.compression),
        (semconv.CELL, path.cell),
        (SIZE_CLASS, path.row or size_class(path.image_size, path.payload_size)),
    )
    return tuple((key, _value(value)) for key, value in values if value)


@lru_cache(4096)
def _value(text: str) -> str:
    """Return text from elsewhere as a value that every format can hold."""
    return printable(text[:_LONGEST])
