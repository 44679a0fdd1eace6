"""The spans that a process made, kept to measure their images: what a processor and an exporter share."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from opentelemetry import trace

from otel_kfs.analysis import pipeline
from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement, corrected
from otel_kfs.analysis.measurement import Series
from otel_kfs.analysis.paths.segment import TOTAL, Stretch, path_order
from otel_kfs.analysis.statistics import Summary, summary
from otel_kfs.reader.no_images import need_images
from otel_kfs.reader.reading import Reading
from otel_kfs.report.coverage_lines import coverage_line
from otel_kfs.report.segment_names import segment_key, segment_name, step_name
from otel_kfs.telemetry.safe_tracer import never_raises
from otel_kfs.traces.batch import chunks
from otel_kfs.traces.formats.sdk_spans import read_span
from otel_kfs.traces.printable import printable
from otel_kfs.traces.span import Span
from otel_kfs.watch.in_process.image_stream import ImageStream
from otel_kfs.watch.metrics.image_metrics import ImageMetrics
from otel_kfs.watch.metrics.otlp_metrics import OtlpMetrics

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace import ReadableSpan

MOST_SPANS = 50_000  # some 3,000 images through transformer and predictor

_PLACE = "this process"
_LOOKS = 0.01  # seconds between two looks at whether all is there
_NAMED = 3  # of the spans that have not ended


@dataclass(frozen=True, slots=True)
class SegmentFigures:
    """What is known of one segment's duration in some images, or of the whole, 4-1: seconds.

    A figure is None where `n` images are too few for it: docs/statistics.md says how many each needs. `bound`: how far
    off a duration may be at most, because its ends were read on the clocks of two hosts; 0 where it was one clock,
    `math.inf` where nothing bounds it.
    """

    n: int
    mean: float
    sd: float | None
    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    max: float
    bound: float = 0


class _Begun(NamedTuple):
    """A span that has not ended."""

    parent_id: int | None
    name: str


class KeptSpans:
    """Spans of this process, and what their images' paths say. Any thread may call any method.

    At most `max_spans` are kept: where there are more, the traces that began first are given up, whole, and their spans
    counted in `given_up`.
    """

    def __init__(self, max_spans: int = MOST_SPANS, *, meter_provider: MeterProvider | None = None) -> None:
        """Record every image with `meter_provider`, too: the metrics of `otel-kfs watch`, `otel_kfs.segment.duration`.

        Raises:
            MissingExtra: ddsketch is not installed, with `meter_provider`.
        """
        self._most = max_spans
        self._changed = threading.Condition()
        self._by_trace: OrderedDict[str, list[Span]] = OrderedDict()
        self._kept = 0
        self._given_up = 0
        self._version = 0
        self._open: dict[int, _Begun] = {}  # by their ids, the spans that have begun and not ended
        self._measured: tuple[int, CorrectedMeasurement[Series]] | None = None
        self._stream: ImageStream | None = None
        if meter_provider is not None:
            self._stream = ImageStream([ImageMetrics([OtlpMetrics(meter_provider)])], max_spans)
        _all_kept.add(self)

    def __repr__(self) -> str:
        """Return how much there is."""
        return f"<{type(self).__name__} of {self._kept} span{'s' * (self._kept != 1)}>"

    @property
    def given_up(self) -> int:
        """The number of spans that there was no room for."""
        return self._given_up

    def clear(self) -> None:
        """Forget all spans."""
        with self._changed:
            self._by_trace.clear()
            self._kept = self._given_up = 0
            self._version += 1

    def read(self) -> Reading:
        """Return the images of all spans that have ended, as `otel_kfs.read` returns those of a store.

        Raises:
            OtelKfsError: no image was measured; the message says why, and what there is.
        """
        found = self.measurement()
        need_images(found.coverage, _PLACE, found.store)
        return Reading(_PLACE, found)

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002 - nothing is waited for
        """Have metrics of all images that are complete; spans that have ended are kept already."""
        if self._stream is not None:
            self._stream.measure()
        return True

    def shutdown(self) -> None:
        """Have metrics of all images, complete or not; what is kept stays."""
        if self._stream is not None:
            self._stream.measure(finish=True)

    def measurement(self) -> CorrectedMeasurement[Series]:
        """Measure the images of all spans that have ended: what `otel-kfs tables` makes of the same spans."""
        with self._changed:
            version, spans = self._version, [span for spans in self._by_trace.values() for span in spans]
            if self._measured is not None and self._measured[0] == version:
                return self._measured[1]
        store = _Store(spans)
        found = corrected(pipeline.read(store, processes=1), store)
        with self._changed:
            self._measured = version, found
        return found

    def segment(self, name: str, *, transport: str | None = None, size: str | None = None) -> SegmentFigures:
        """Return the figures of a segment, by its name in the tables (`encode`, `transformer decode`), in seconds.

        A step's name is enough where one place alone has that step: `decode`. They are of all images that have the
        segment, or of those alone with that transport ("http", "kafka") and that label of their size (`1.1MB`).

        Raises:
            LookupError: no image has that segment; the message has the names of those that there are.
        """
        found = self._series(transport, size)
        stretches = sorted({one for series in found for one in series.columns()}, key=path_order)
        wanted = [one for one in stretches if name in {segment_name(one), segment_key(one)}]
        wanted = wanted or [one for one in stretches if step_name(one) == name]
        if len(wanted) != 1:
            names = ", ".join(map(segment_name, wanted or stretches))
            what = f"there are several segments {name!r}" if wanted else f"no image has a segment {name!r}"
            raise LookupError(f"{what}: {names}")
        return _figures(found, wanted[0])

    def total(self, *, transport: str | None = None, size: str | None = None) -> SegmentFigures:
        """Return the figures of the whole, from start to answer (4-1), in seconds.

        Raises:
            LookupError: no image was measured; the message says why.
        """
        return _figures(self._series(transport, size), TOTAL)

    def wait(self, images: int = 1, *, timeout: float = 10.0) -> CorrectedMeasurement[Series]:
        """Wait until so many images are measured and no span is open but those around the caller; return them.

        A server's span ends when the answer is on its way, often after the client has it: wait before you look.

        Raises:
            TimeoutError: they were not there within `timeout` seconds; the message says what was.
        """
        limit = time.monotonic() + timeout
        around = self._around_the_caller()
        seen = -1
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda seen=seen: self._version != seen and self._open.keys() <= around,  # type: ignore[misc]
                    max(0.0, limit - time.monotonic()),
                )
                seen, still = self._version, [one.name for key, one in self._open.items() if key not in around]
            found = self.measurement()
            if found.coverage.measured >= images and not still:
                return found
            if time.monotonic() >= limit:
                there = coverage_line(found.coverage) + _not_ended(still)
                raise TimeoutError(f"waited {timeout:g} s for {images} image{'s' * (images != 1)}: {there}")
            time.sleep(_LOOKS)

    @never_raises("watching a span that begins")
    def _began(self, span: ReadableSpan) -> None:
        if len(self._open) < self._most and (context := span.get_span_context()) is not None:
            with self._changed:
                parent_id = None if span.parent is None else span.parent.span_id
                self._open[context.span_id] = _Begun(parent_id, span.name)

    @never_raises("watching a span that ends")
    def _ended(self, one: ReadableSpan) -> None:
        context = one.get_span_context()
        if context is None:
            return
        span = read_span(one) if context.trace_flags.sampled else None
        with self._changed:
            self._open.pop(context.span_id, None)
            if span is not None:
                self._keep(span)
            self._changed.notify_all()
        if span is not None and self._stream is not None:
            self._stream.add(span)

    def _keep(self, span: Span) -> None:
        self._by_trace.setdefault(span.trace_id, []).append(span)
        self._kept += 1
        self._version += 1
        while self._kept > self._most:
            _, spans = self._by_trace.popitem(last=False)
            self._kept -= len(spans)
            self._given_up += len(spans)

    def _series(self, transport: str | None, size: str | None) -> list[Series]:
        measurement = self.measurement()
        found = [
            series
            for series in measurement.series
            if (transport is None or series.labels.transport == transport) and (size is None or series.size == size)
        ]
        if not found:
            there = ", ".join(f"{one.labels.label} {one.size}" for one in measurement.series)
            raise LookupError(f"no such image: {coverage_line(measurement.coverage)}{there and f' ({there})'}")
        return found

    def _around_the_caller(self) -> set[int]:
        """Return the ids of the span that the caller is in, and of those around it."""
        found: set[int] = set()
        context = trace.get_current_span().get_span_context()
        one: int | None = context.span_id if context.is_valid else None
        with self._changed:
            while one is not None and one not in found:
                found.add(one)
                begun = self._open.get(one)
                one = None if begun is None else begun.parent_id
        return found


def _not_ended(names: Sequence[str]) -> str:
    """Return the end of a sentence that names some spans."""
    if not names:
        return ""
    few = ", ".join(f"`{printable(name)}`" for name in dict.fromkeys(names[:_NAMED]))
    more = ", ..." if len(names) > _NAMED else ""
    return f"; {len(names)} span{'s have' if len(names) > 1 else ' has'} not ended: {few}{more}"


_all_kept: WeakSet[KeptSpans] = WeakSet()


def _unlock() -> None:
    """Give a forked child locks that no thread of its parent holds."""
    for kept in _all_kept:
        kept._changed = threading.Condition()
        if kept._stream is not None:
            kept._stream.new_locks()


os.register_at_fork(after_in_child=_unlock)


class _Store:
    """The spans as a trace store, from which a report reads single traces again."""

    def __init__(self, spans: list[Span]) -> None:
        self._spans = spans

    def spans(self) -> Iterator[Span]:
        return iter(self._spans)

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        return (span for span in self._spans if span.trace_id in ids)

    def link(self, trace_id: str) -> str | None:  # noqa: ARG002 - no page shows it
        return None

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        return [partial(chunks, self._spans)]


def _figures(all_series: list[Series], stretch: Stretch) -> SegmentFigures:
    durations = [one for series in all_series for one in series.columns().get(stretch, ())]
    bounds = [one for series in all_series if stretch in series.columns() for one in series.bounds(stretch)]
    found: Summary = summary(durations)

    def seconds(nanoseconds: float | None) -> float | None:
        return None if nanoseconds is None else nanoseconds / 1e9

    return SegmentFigures(
        found.n,
        found.mean / 1e9,
        seconds(found.sd),
        found.p50 / 1e9,
        seconds(found.p90),
        seconds(found.p95),
        seconds(found.p99),
        found.max / 1e9,
        max(bounds, default=0) / 1e9,
    )
