"""Every image and segment as a record: what notebooks, CSV, JSON and Parquet are given of single images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import TypedDict, cast

from otel_kfs.analysis.measurement import NO_SIZE, NO_STAMP, Series
from otel_kfs.report.records.segment_records import bound_or_none, certainty
from otel_kfs.report.segment_names import segment_name


class ImageRecord(TypedDict):
    """One segment of one image. Stamps are ns since the epoch, by the clock of stamp 1's host; sizes are bytes.

    An image's segments stand in the order of its path, and their durations add up to stamp 4 less stamp 1, exactly. A
    segment that an image lacks has no record.
    """

    trace_id: str
    root_span_id: str  # tells the images of one trace apart
    transport: str
    encoding: str  # "" is base64 in JSON, as in 2020
    compression: str
    cell: str
    size: str  # the label by which tables group sizes that count as equal
    image_bytes: int | None  # None where no span tells
    payload_bytes: int | None
    stamp_1_ns: int
    stamp_2_ns: int | None
    stamp_3_ns: int | None
    stamp_4_ns: int
    segment: str
    place: str  # who has the image then: `predictor 2`
    step: str  # what happens to it there; "" is the place's time that no span covers
    duration_ns: int
    clock_bound_ns: int | None  # how far off it may be either way; None where it is exact or nothing bounds it
    clocks: str  # `exact`, `bounded` or `unbounded`


def image_records(all_series: Iterable[Series]) -> Iterator[ImageRecord]:
    """Yield the records of every image: by series, then by stamp 1, then by path. No more than one is in memory."""
    fields = tuple(ImageRecord.__annotations__)
    for series in all_series:
        columns = [
            _Column(
                (segment_name(segment), segment.place.label, segment.step),
                durations.images,
                durations.values,
                durations.bounds,
            )
            for segment, durations in ((one, series.segments[one]) for one in series.ordered_segments())
        ]
        for image, of_image in enumerate(_images(series)):
            for column in columns:
                if (duration := column.of(image)) is not None:
                    yield cast("ImageRecord", dict(zip(fields, (*of_image, *column.names, *duration), strict=True)))


def _images(series: Series) -> Iterator[tuple[object, ...]]:
    """Yield what all records of an image have in common."""
    one, two, three, four = series.stamps
    return (
        (
            trace_id,
            root_id,
            *series.labels,
            series.size,
            image_size,
            None if payload == NO_SIZE else payload,
            first,
            None if second == NO_STAMP else second,
            None if third == NO_STAMP else third,
            last,
        )
        for trace_id, root_id, image_size, payload, first, second, third, last in zip(
            series.trace_ids,
            series.root_ids,
            series.image_sizes or repeat(None, len(series)),
            series.payloads,
            one,
            two,
            three,
            four,
            strict=True,
        )
    )


class _Column:
    """One segment's durations, read from the first image to the last."""

    def __init__(
        self, names: tuple[str, str, str], images: Sequence[int], durations: Sequence[int], bounds: Sequence[float]
    ) -> None:
        self.names = names
        self._rest = zip(images, durations, bounds or repeat(0.0, len(durations)), strict=True)
        self._next = next(self._rest, None)

    def of(self, image: int) -> tuple[int, int | None, str] | None:
        """Return the duration of the next image, with how far off it may be; None if it lacks the segment."""
        if self._next is None or self._next[0] != image:
            return None
        _, duration, bound = self._next
        self._next = next(self._rest, None)
        return duration, bound_or_none(bound), certainty(bound)
