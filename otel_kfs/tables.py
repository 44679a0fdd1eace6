"""From the ways of many images to rows: the measurement's two tables of 2020, and the named segments."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from otel_kfs import names
from otel_kfs.segments import ORDER, Account, Journey

Layout = Literal["seed", "segments"]
LAYOUTS: tuple[Layout, ...] = ("seed", "segments")

P95_NEEDS = 20  # values; below that a 95th percentile is only a guess between the two largest

Unit = Literal["text", "count", "unix", "seconds", "milliseconds"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and what its cells are: times and lengths are nanoseconds until they are rendered."""

    heading: str
    unit: Unit


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title; a cell is None where there is nothing to say. `notes` go below."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one segment in one cell; lengths in ns. `p95` is None where there are too few values for one."""

    n: int
    p50: int
    p95: int | None
    max: int


@dataclass(frozen=True, slots=True)
class Cell:
    """All images of one transport and size."""

    transport: str
    size: str
    journeys: tuple[Journey, ...]

    @property
    def median(self) -> Journey:
        """The image whose 4-1 is the (lower) median: a real one, so that its columns add up."""
        by_total = sorted(self.journeys, key=lambda journey: journey.stamps[3] - journey.stamps[0])
        return by_total[(len(by_total) - 1) // 2]

    def segments(self) -> dict[str, Statistics]:
        """Every segment that occurs, in the order of the way; a name that occurs twice in a way adds up there."""
        lengths: dict[str, list[int]] = defaultdict(list)
        for journey in self.journeys:
            sums: dict[str, int] = defaultdict(int)
            for segment in journey.segments:
                sums[segment.name] += segment.length
            for name, length in sums.items():
                lengths[name].append(length)
        return {name: statistics_of(lengths[name]) for name in sorted(lengths, key=_on_the_way)}

    def total(self) -> Statistics:
        """Of 4-1."""
        return statistics_of([journey.stamps[3] - journey.stamps[0] for journey in self.journeys])


def statistics_of(values: Sequence[int]) -> Statistics:
    """n, median, 95th percentile (linear between ranks; None below 20 values) and maximum of at least one value."""
    p95 = None
    if len(values) >= P95_NEEDS:
        p95 = round(statistics.quantiles(values, n=100, method="inclusive")[94])
    return Statistics(len(values), round(statistics.median(values)), p95, max(values))


def cells(journeys: Iterable[Journey]) -> list[Cell]:
    """The images by transport (HTTP first) and size (small first)."""
    by_cell: dict[tuple[str, str], list[Journey]] = defaultdict(list)
    for journey in journeys:
        by_cell[journey.transport, size_label(journey)].append(journey)
    order = sorted(by_cell, key=lambda key: (key[0] != names.HTTP, key[0], _size(by_cell[key][0]), key[1]))
    return [Cell(*key, tuple(by_cell[key])) for key in order]


def size_label(journey: Journey) -> str:
    """An image's size as the measurement of 2020 wrote it, `1.1MB`; its JSON's where the image's is not known."""
    if journey.image_size is not None:
        return _megabytes(journey.image_size)
    if journey.payload_size is not None:
        return f"{_megabytes(journey.payload_size)} JSON"
    return "?"


def seed_tables(cells: Sequence[Cell]) -> list[Table]:
    """For each transport the table of unix times and the table of seconds, one image a size: the median one."""
    tables = []
    for transport in _transports(cells):
        of_transport = [cell for cell in cells if cell.transport == transport]
        title = _TITLES.get(transport, transport)
        stamps, seconds = [], []
        for cell in of_transport:
            one, two, three, four = cell.median.stamps
            stamps.append((cell.size, one, two, three, four))
            seconds.append((cell.size, two - one, three - two, four - three, four - one))
        counts = sorted({len(cell.journeys) for cell in of_transport})
        n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        tables.append(Table(f"{title}: unix time", _columns("1 2 3 4", "unix"), tuple(stamps)))
        tables.append(
            Table(
                f"{title}: seconds",
                _columns("2-1 3-2 4-3 4-1", "seconds"),
                tuple(seconds),
                (f"a row is one image, the one with the median 4-1 of n = {n}; each figure is rounded by itself",),
            )
        )
    return tables


def segment_tables(cells: Sequence[Cell]) -> list[Table]:
    """For each transport a table with the segments as rows, and p50 and p95 of each size as columns."""
    tables = []
    for transport in _transports(cells):
        of_transport = [cell for cell in cells if cell.transport == transport]
        by_size = [cell.segments() for cell in of_transport]
        columns = [Column("Segment", "text")]
        few = False
        for cell in of_transport:
            n = len(cell.journeys)
            tail = "p95" if n >= P95_NEEDS else "max"
            few = few or n < P95_NEEDS
            columns += [
                Column(f"{cell.size} p50", "milliseconds"),
                Column(f"{tail} (n={n})", "milliseconds"),
            ]
        rows = []
        for name in sorted({name for segments in by_size for name in segments}, key=_on_the_way):
            rows.append((name, *_p50_and_tail(of_transport, [segments.get(name) for segments in by_size])))
        rows.append(("4-1", *_p50_and_tail(of_transport, [cell.total() for cell in of_transport])))
        notes = [f"fewer than {P95_NEEDS} images can't support a p95: the largest value stands there"] if few else []
        if any(segment.crosses for cell in of_transport for j in cell.journeys for segment in j.segments):
            notes.append("some segments lie between two hosts, and hold the difference of their clocks")
        title = f"{_TITLES.get(transport, transport)}: segments, milliseconds"
        tables.append(Table(title, tuple(columns), tuple(rows), tuple(notes)))
    return tables


def seed_records(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The two tables of 2020 as one record a transport and size; times in seconds, as text with nine digits."""
    records = []
    for cell in cells:
        one, two, three, four = stamps = cell.median.stamps
        record: dict[str, Any] = {"transport": cell.transport, "size": cell.size, "n": len(cell.journeys)}
        record["trace_id"] = cell.median.trace_id
        record |= {str(number): seconds(stamp) for number, stamp in enumerate(stamps, 1)}
        differences = {"2-1": two - one, "3-2": three - two, "4-3": four - three, "4-1": four - one}
        record |= {name: seconds(length) for name, length in differences.items()}
        records.append(record)
    return records


def segment_records(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """One record a transport, size and segment, `4-1` among them; lengths in ns."""
    records = []
    for cell in cells:
        for name, of_segment in {**cell.segments(), "4-1": cell.total()}.items():
            records.append(
                {
                    "transport": cell.transport,
                    "size": cell.size,
                    "segment": name,
                    "n": of_segment.n,
                    "p50_ns": of_segment.p50,
                    "p95_ns": of_segment.p95,
                    "max_ns": of_segment.max,
                }
            )
    return records


def account_line(account: Account) -> str:
    """What was measured and what was left out, and why, in one line."""
    parts = [f"{account.measured} {'image' if account.measured == 1 else 'images'} measured"]
    parts += [f"{count} left out: {reason}" for reason, count in sorted(account.left_out.items())]
    if account.retried:
        parts.append(f"{account.retried} with retries")
    if account.redelivered:
        parts.append(f"{account.redelivered} redelivered")
    return "; ".join(parts)


def seconds(nanoseconds: int) -> str:
    """Nanoseconds as seconds with nine digits, exactly."""
    sign = "-" if nanoseconds < 0 else ""
    whole, rest = divmod(abs(nanoseconds), 1_000_000_000)
    return f"{sign}{whole}.{rest:09d}"


_TITLES = {names.HTTP: "HTTP", names.KAFKA: "Kafka"}


def _transports(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.transport for cell in cells))


def _columns(headings: str, unit: Unit) -> tuple[Column, ...]:
    return (Column("Size", "text"), *(Column(heading, unit) for heading in headings.split()))


def _p50_and_tail(cells: Sequence[Cell], of_sizes: Sequence[Statistics | None]) -> list[int | None]:
    """Two columns a size; a segment that few of many images have has no p95, and no maximum under that heading."""
    columns: list[int | None] = []
    for cell, of_size in zip(cells, of_sizes, strict=True):
        if of_size is None:
            columns += [None, None]
        else:
            columns += [of_size.p50, of_size.p95 if len(cell.journeys) >= P95_NEEDS else of_size.max]
    return columns


def _on_the_way(name: str) -> tuple[int, str]:
    plain = name.partition(" (no ")[0]
    return (ORDER.index(plain) if plain in ORDER else len(ORDER), name)


def _size(journey: Journey) -> int:
    return journey.image_size or journey.payload_size or 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}MB" if size >= 50_000 else f"{size / 1e3:.1f}kB"
