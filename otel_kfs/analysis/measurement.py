"""Measurement: the critical paths of many images as columns of numbers, a series for each set of labels and size.

Tables, statistics, comparisons and reports read this, and no span: it is all of the traces that stays in memory.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, TypeVar

from otel_kfs import semconv
from otel_kfs.analysis.clock_skew import Clocks
from otel_kfs.analysis.image_size import SizeRange, group_labels, rounded_size
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import CriticalPath
from otel_kfs.analysis.paths.segment import TOTAL, UNNAMED_SYSTEM, Segment, Stretch, path_order
from otel_kfs.traces.span import Key

MOST_RUNS = 1000  # ids that are kept
NO_STAMP = -(2**63)  # in place of a stamp of which no span says when it was
NO_SIZE = -1  # in place of a payload's size that no span tells

_Number = TypeVar("_Number", int, float)


class Labels(NamedTuple):
    """What the images of a series have in common besides their size; "" is as in 2020 (base64 in JSON), or no label."""

    transport: str
    encoding: str = ""
    compression: str = ""
    cell: str = ""

    @property
    def label(self) -> str:
        """For people: `HTTP`, `Kafka, raw, gzip`."""
        transport = TRANSPORTS.get(self.transport, self.transport)
        return ", ".join(filter(None, (transport, self.cell or self.encoding, "" if self.cell else self.compression)))


# Of other systems than Kafka those whose names, in OpenTelemetry's conventions, are not what people call them.
TRANSPORTS = {
    semconv.HTTP: "HTTP",
    semconv.KAFKA: "Kafka",
    UNNAMED_SYSTEM: "Messaging",
    "activemq": "ActiveMQ",
    "aws_sqs": "SQS",
    "gcp_pubsub": "Pub/Sub",
    "jms": "JMS",
    "nats": "NATS",
    "pulsar": "Pulsar",
    "rabbitmq": "RabbitMQ",
    "rocketmq": "RocketMQ",
    "servicebus": "Service Bus",
}


class Crossing(NamedTuple):
    """A section of a path that begins by one host's clock and ends by another's, gives way, or follows what does."""

    segment: Segment
    begins: str  # the host by whose clock its start was read
    ends: str
    gives_way: bool  # it is over when the next one ends, if that is earlier


class Route(NamedTuple):
    """The hosts that some images' paths lead through: by whose clocks their stamps and their crossings are."""

    stamps: tuple[str, str, str, str]
    crossings: tuple[Crossing, ...]


ONE_CLOCK = -1  # in place of a route's number


@dataclass(slots=True)
class Durations:
    """One segment of a series: its duration in each image that has it, ns, beside the number of that image.

    `bounds`: how far off each may be either way, ns, `math.inf` where nothing bounds it; empty if each is exact. A name
    that occurs twice in an image adds up there.
    """

    images: array[int] = field(default_factory=lambda: array("q"))
    values: array[int] = field(default_factory=lambda: array("q"))
    bounds: array[float] = field(default_factory=lambda: array("d"))

    def __len__(self) -> int:
        return len(self.values)

    def _add(self, image: int, duration: int) -> None:
        if self.images and self.images[-1] == image:
            self.values[-1] += duration
            return
        self.images.append(image)
        self.values.append(duration)

    def _extend(self, other: Durations, images: int) -> None:
        """Add another's behind, whose first image is number `images` here; neither is corrected yet."""
        self.images.extend([images + image for image in other.images] if images else other.images)
        self.values.extend(other.values)

    def _only(self, became: Mapping[int, int]) -> Durations:
        """Return that of some images, with the numbers that they have there."""
        places = [place for place, image in enumerate(self.images) if image in became]
        return Durations(
            array("q", [became[self.images[place]] for place in places]),
            _in_order(self.values, places),
            _in_order(self.bounds, places) if self.bounds else self.bounds,
        )

    def _reorder(self, order: Sequence[int]) -> None:
        """Let image number `order[i]` become number i."""
        at = range(len(order))
        if len(self) == len(order):
            found = order
        else:
            places = array("q", bytes(8 * len(order)))
            for place, image in enumerate(self.images, 1):
                places[image] = place
            there = [places[image] for image in order]
            found = [place - 1 for place in there if place]
            at = array("q", [number for number, place in enumerate(there) if place])  # type: ignore[assignment]
        self.images = array("q", at)
        self.values = _in_order(self.values, found)


@dataclass(slots=True)
class Series:
    """All images of one size with the same labels; image number i is in the trace `trace_ids[i]`.

    A trace may have several images: the span id `root_ids[i]` tells them apart.

    `stamps[0..3][i]` are its stamps, ns since the epoch (2 and 3 may be NO_STAMP), `image_sizes[i]` its size in bytes,
    if that is known of any, and `payloads[i]` that of its payload, which may be NO_SIZE. `size` is its size as a label;
    while images are read, it is what `rounded_size` keeps them apart by.
    """

    labels: Labels
    size: str
    image_sizes: array[int] = field(default_factory=lambda: array("q"))
    payloads: array[int] = field(default_factory=lambda: array("q"))
    trace_ids: list[str] = field(default_factory=list)
    root_ids: list[str] = field(default_factory=list)
    stamps: tuple[array[int], array[int], array[int], array[int]] = field(
        default_factory=lambda: (array("q"), array("q"), array("q"), array("q"))
    )
    segments: dict[Segment, Durations] = field(default_factory=dict)
    second_is_spans: bool = False  # of some image stamp 2 is the start of the server's span
    # Of each image, the number of its route in `Measurement.routes`, and the start and end of each of its crossings.
    routes: array[int] = field(default_factory=lambda: array("i"))
    crossings: list[array[int]] = field(default_factory=list)
    # Of 2-1, 3-2, 4-3 and 4-1, as `Durations.bounds`; empty if each is exact.
    stamp_bounds: dict[str, array[float]] = field(default_factory=dict)
    # Segments that would be over when the next one ends, and end with their spans, as nothing bounds that one's clock.
    uncut: frozenset[Segment] = frozenset()

    def __len__(self) -> int:
        return len(self.trace_ids)

    def key(self, image: int) -> Key:
        """Return what tells an image from all others: its trace's id and its root's."""
        return self.trace_ids[image], self.root_ids[image]

    @property
    def image_size(self) -> int | None:
        """The size of the smallest image, bytes."""
        return min(self.image_sizes, default=None)

    @property
    def payload_sizes(self) -> SizeRange | None:
        """The sizes of the payloads, of those images that tell."""
        known = [size for size in self.payloads if size != NO_SIZE]
        return SizeRange(min(known), max(known)) if known else None

    @property
    def payload_size(self) -> int | None:
        """The size of the smallest payload, bytes."""
        return sizes.low if (sizes := self.payload_sizes) else None

    @property
    def size_range(self) -> SizeRange | None:
        """The sizes of its images, or, where only those are known, of its payloads."""
        return SizeRange(min(self.image_sizes), max(self.image_sizes)) if self.image_sizes else self.payload_sizes

    def totals(self) -> list[int]:
        """Return 4-1 of every image, ns."""
        return [last - first for first, last in zip(self.stamps[0], self.stamps[3], strict=True)]

    def median(self) -> int:
        """Return the number of the image whose 4-1 is the (lower) median: a real one, so that its columns add up."""
        totals = self.totals()
        return sorted(range(len(self)), key=totals.__getitem__)[(len(self) - 1) // 2]

    def ordered_segments(self) -> list[Segment]:
        """Return every segment that occurs, in the order of the path."""
        return sorted(self.segments, key=path_order)

    def columns(self) -> dict[Stretch, Sequence[int]]:
        """Return the durations of every segment, in the order of the path, and of the whole, 4-1, ns."""
        return {**{one: self.segments[one].values for one in self.ordered_segments()}, TOTAL: self.totals()}

    def bounds(self, stretch: Stretch) -> Sequence[float]:
        """Return how far off each duration of a column may be either way, ns; nothing if each is exact."""
        return self.stamp_bounds.get(stretch, ()) if isinstance(stretch, str) else self.segments[stretch].bounds

    def stamp_bound(self, stretch: str, image: int) -> float:
        """Return the same of the time between two stamps of one image: 0 where it is exact."""
        bounds = self.stamp_bounds.get(stretch)
        return bounds[image] if bounds else 0

    def only(self, images: Sequence[int]) -> Series:
        """Return the series of some of its images, by their numbers."""
        if len(images) == len(self):
            return self
        became = {image: number for number, image in enumerate(images)}
        one, two, three, four = (_in_order(column, images) for column in self.stamps)
        segments = {segment: durations._only(became) for segment, durations in self.segments.items()}
        return replace(
            self,
            image_sizes=_in_order(self.image_sizes, images) if self.image_sizes else self.image_sizes,
            payloads=_in_order(self.payloads, images),
            trace_ids=[self.trace_ids[image] for image in images],
            root_ids=[self.root_ids[image] for image in images],
            stamps=(one, two, three, four),
            segments={segment: durations for segment, durations in segments.items() if len(durations)},
            routes=_in_order(self.routes, images),
            crossings=[self.crossings[image] for image in images],
            stamp_bounds={name: _in_order(bounds, images) for name, bounds in self.stamp_bounds.items()},
        )

    def _add(self, path: CriticalPath, number_of: Callable[[Route], int]) -> None:
        """Append one image; `number_of` gives the number of a route."""
        image = len(self)
        self.trace_ids.append(path.trace_id)
        self.root_ids.append(path.root_id)
        if path.image_size is not None:
            self.image_sizes.append(path.image_size)
        self.payloads.append(NO_SIZE if path.payload_size is None else path.payload_size)
        for column, at in zip(self.stamps, path.stamps, strict=True):
            column.append(NO_STAMP if at is None else at)
        self.second_is_spans |= path.second_is_spans
        for section in path.sections:
            durations = self.segments.get(section.segment)
            if durations is None:
                durations = self.segments[section.segment] = Durations()
            durations._add(image, section.duration)
        route, moments = _route(path)
        self.routes.append(ONE_CLOCK if route is None else number_of(route))
        self.crossings.append(moments)

    def _extend(self, other: Series, numbers: Sequence[int] = ()) -> None:
        """Add another's images behind; its route number i is `numbers[i]` here, or the same without them."""
        images = len(self)
        self.image_sizes.extend(other.image_sizes)
        self.payloads.extend(other.payloads)
        self.trace_ids += other.trace_ids
        self.second_is_spans |= other.second_is_spans
        self.root_ids += other.root_ids
        for column, more in zip(self.stamps, other.stamps, strict=True):
            column.extend(more)
        self.routes.extend(_renumbered(other.routes, numbers))
        self.crossings += other.crossings
        for segment, durations in other.segments.items():
            self.segments.setdefault(segment, Durations())._extend(durations, images)

    def _sort(self) -> None:
        numbers = range(len(self))
        order = [
            number for *_, number in sorted(zip(self.stamps[0], self.trace_ids, self.root_ids, numbers, strict=True))
        ]
        if order == [*numbers]:
            return
        self.trace_ids = [self.trace_ids[image] for image in order]
        self.root_ids = [self.root_ids[image] for image in order]
        if self.image_sizes:
            self.image_sizes = _in_order(self.image_sizes, order)
        self.payloads = _in_order(self.payloads, order)
        one, two, three, four = (_in_order(column, order) for column in self.stamps)
        self.stamps = (one, two, three, four)
        self.routes = _in_order(self.routes, order)
        self.crossings = [self.crossings[image] for image in order]
        for durations in self.segments.values():
            durations._reorder(order)


@dataclass(slots=True)
class Runs:
    """Which runs some images are of: their ids ("" for images without one), as long as there are not very many."""

    ids: set[str] = field(default_factory=set)
    many: bool = False  # more than MOST_RUNS; no ids are kept then

    def add(self, ids: Iterable[str]) -> None:
        """Take note of these, too."""
        if not self.many:
            self.ids.update(ids)
            if len(self.ids) > MOST_RUNS:
                self.ids, self.many = set(), True

    def merge(self, other: Runs) -> None:
        """Take note of another's."""
        if other.many:
            self.ids, self.many = set(), True
        else:
            self.add(other.ids)


@dataclass(slots=True)
class Measurement:
    """Every image that was measured, by series, and what became of the others."""

    coverage: Coverage = field(default_factory=Coverage)
    routes: dict[Route, int] = field(default_factory=dict)  # each with its number
    by_key: dict[tuple[Labels, str], Series] = field(default_factory=dict)
    clocks: Clocks = field(default_factory=Clocks)
    runs: Runs = field(default_factory=Runs)
    linked: dict[Key, tuple[str, ...]] = field(default_factory=dict)  # by image, the other traces that it went on in
    contradicted: set[str] = field(default_factory=set)  # hosts whose spans can't all be by one clock
    apart: frozenset[str] = frozenset()  # those of them of which each service counts as a host

    def add(self, path: CriticalPath) -> None:
        """Count one image in."""
        size = path.row or rounded_size(path.image_size, path.payload_size)
        key = Labels(path.transport, path.encoding, path.compression, path.cell), size
        series = self.by_key.get(key)
        if series is None:
            series = self.by_key[key] = Series(*key)
        series._add(path, self._number)
        self.runs.add([path.run])
        for host, at, other, later in path.before:
            self.clocks.before(host, at, other, later)
        if path.linked:
            self.linked[path.key] = path.linked

    def merge(self, other: Measurement) -> None:
        """Count in all that another measured; `sort` then makes the order the same, whatever was merged first."""
        self.coverage.merge(other.coverage)
        self.clocks.merge(other.clocks)
        self.runs.merge(other.runs)
        self.linked.update(other.linked)
        self.contradicted |= other.contradicted
        numbers = [self._number(route) for route in other.routes]
        for key, series in other.by_key.items():
            self.by_key.setdefault(key, Series(series.labels, series.size))._extend(series, numbers)

    def group_sizes(self) -> None:
        """Make one series of the images whose sizes count as equal, and label each; for when all images are counted."""
        self.by_key = grouped_by_size(self.by_key, Series._extend)

    def sort(self) -> None:
        """Group the sizes, and order images by sending (stamp 1, then ids), and the routes by their hosts."""
        self.group_sizes()
        for series in self.by_key.values():
            series._sort()
        routes = sorted(self.routes, key=_by_hosts)
        if routes != [*self.routes]:
            became = [0] * len(routes)
            for number, route in enumerate(routes):
                became[self.routes[route]] = number
            self.routes = {route: number for number, route in enumerate(routes)}
            for series in self.by_key.values():
                series.routes = _renumbered(series.routes, became)

    def all_series(self) -> list[Series]:
        """Return the series in their order."""
        return in_order(self.by_key.values())

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """Every two hosts between whose clocks something was measured, in the order in which an image met them."""
        return {(one.begins, one.ends) for route in self.routes for one in route.crossings if one.begins != one.ends}

    def _number(self, route: Route) -> int:
        return self.routes.setdefault(route, len(self.routes))


def crossing(path: CriticalPath) -> list[bool]:
    """Return for each section whether its duration can only be told when the clocks are known."""
    before = [False, *(section.gives_way for section in path.sections)]
    return [
        section.hosts is not None or section.gives_way or gave_way
        for section, gave_way in zip(path.sections, before, strict=False)
    ]


_NO_CROSSINGS: array[int] = array("q")


def _route(path: CriticalPath) -> tuple[Route | None, array[int]]:
    """Return the hosts that a path leads through, and the moments of its crossings; None where it is on one clock."""
    if path.hosts == path.hosts[:1] * 4 and not any(section.hosts or section.gives_way for section in path.sections):
        return None, _NO_CROSSINGS
    crossings, moments, host = [], array("q"), path.hosts[0]
    for section, crosses in zip(path.sections, crossing(path), strict=True):
        begins, ends = section.hosts or (host, host)
        if crosses:
            crossings.append(Crossing(section.segment, begins, ends, section.gives_way))
            moments.extend((section.start, section.end))
        host = ends
    return Route(path.hosts, tuple(crossings)), moments


def _by_hosts(route: Route) -> tuple[object, ...]:
    return route.stamps, [(one.begins, one.ends, path_order(one.segment), one.gives_way) for one in route.crossings]


def _in_order(column: array[_Number], order: Sequence[int]) -> array[_Number]:
    if len(column) == len(order) and column == column[:1] * len(order):
        return column  # as columns of routes are: all of one value
    values = column.tolist()
    return array(column.typecode, [values[number] for number in order])


def _renumbered(routes: array[int], became: Sequence[int]) -> array[int]:
    """Renumber routes, each as what it became."""
    return array("i", [route if route < 0 else became[route] for route in routes]) if became else routes


def measured(paths: Iterable[CriticalPath], coverage: Coverage | None = None) -> Measurement:
    """Return the measurement of some images."""
    measurement = Measurement(coverage or Coverage())
    for path in paths:
        measurement.add(path)
    measurement.group_sizes()
    return measurement


class _Labelled(Protocol):
    @property
    def labels(self) -> Labels: ...


class _Sized(_Labelled, Protocol):
    size: str

    @property
    def size_range(self) -> SizeRange | None: ...


_AnyLabelled = TypeVar("_AnyLabelled", bound=_Labelled)
_AnySized = TypeVar("_AnySized", bound=_Sized)


def in_order(all_series: Iterable[_AnySized]) -> list[_AnySized]:
    """Return HTTP first, what 2020 sent (base64 in JSON) before other encodings, small images first."""
    return sorted(
        all_series,
        key=lambda series: (
            series.labels.transport != semconv.HTTP,
            series.labels,
            series.size_range or SizeRange(0, 0),
            _by_number(series.size),
        ),
    )


def _by_number(label: str) -> list[tuple[bool, int, str]]:
    """Return the key that sorts `3 items` before `12 items`."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d{1,18})", label)]


def grouped_by_size(
    by_key: Mapping[tuple[Labels, str], _AnySized], merge: Callable[[_AnySized, _AnySized], None]
) -> dict[tuple[Labels, str], _AnySized]:
    """Merge the series of the same labels whose sizes count as equal, and label each size alike for all labels."""
    ranges: dict[str, SizeRange | None] = {}
    for (_, size), series in by_key.items():
        of_series = series.size_range
        ranges[size] = of_series.widen(ranges.get(size)) if of_series else ranges.get(size)
    label_of = group_labels(ranges)
    found: dict[tuple[Labels, str], _AnySized] = {}
    for (labels, size), series in by_key.items():
        series.size = label_of[size]
        known = found.setdefault((labels, series.size), series)
        if known is not series:
            merge(known, series)
    return found


def by_labels(all_series: Iterable[_AnyLabelled]) -> dict[Labels, list[_AnyLabelled]]:
    """Group series by their labels, in their order."""
    found: dict[Labels, list[_AnyLabelled]] = {}
    for series in all_series:
        found.setdefault(series.labels, []).append(series)
    return found
