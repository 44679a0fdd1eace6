"""The terminal's table of a watch: every series with its largest segments, of the last minute and since the start.

It fits whatever width and height the terminal has by then: where there is little room, fewer segments are named, and
the others are one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement
from otel_kfs.analysis.duration_sketch import SketchedSeries
from otel_kfs.analysis.findings import share_bound, sum_of_bounds
from otel_kfs.analysis.measurement import Labels
from otel_kfs.analysis.paths.segment import TOTAL, Segment, Stretch, path_order
from otel_kfs.analysis.statistics import Summary, summary
from otel_kfs.report.answer import answer
from otel_kfs.report.coverage_lines import coverage_line
from otel_kfs.report.enclosing import percent
from otel_kfs.report.render import cell
from otel_kfs.report.segment_names import segment_name
from otel_kfs.report.tables.rows import as_read
from otel_kfs.report.tables.table import bounded
from otel_kfs.telemetry.safe_tracer import never_raises
from otel_kfs.traces.printable import printable
from otel_kfs.watch.core.snapshot import Snapshot

_NARROW = 72  # columns, below which p95 is left out
_SMALLEST = 0.01  # of the time; a segment below it is part of the rest
_MOST_SEGMENTS = 12  # that are named of one series
_MOST_SERIES = 30
_AROUND_THE_TABLE = 3  # its headings, and where the cursor stands

Window = CorrectedMeasurement[SketchedSeries]
_Key = tuple[Labels, str]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a watch; Rich draws it anew in the size that the terminal has."""

    snapshot: Snapshot
    losses: Sequence[str] = ()
    foot: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the answer's sentence, the rates, the table, and what was left out or lost."""
        # Rich would draw no further frame after an error, and say nothing.
        yield from self._drawn(console, options) or [Text("these figures can't be drawn; the log says why", "red")]

    @never_raises("drawing the table")
    def _drawn(self, console: Console, options: ConsoleOptions) -> list[RenderableType]:
        head = [Text(printable(sentence(self.snapshot)), style="bold"), Text(rates(self.snapshot), style="dim")]
        foot = [Text(printable(line), style="yellow") for line in [*_left_out(self.snapshot), *self.losses]]
        foot += [Text(printable(self.foot), style="dim")] if self.foot else []
        lines = sum(len(console.render_lines(one, options)) for one in [*head, *foot])
        height = options.height or console.height
        if not self.snapshot.since_start.series:
            return [*head, *foot]
        return [*head, table(self.snapshot, options.max_width, max(0, height - lines - _AROUND_THE_TABLE)), *foot]


def table(snapshot: Snapshot, width: int, rows: int) -> RenderableType:
    """Return the table of a snapshot of some image, in so many columns of characters and about so many rows."""
    all_series = snapshot.since_start.series[:_MOST_SERIES]
    drawn = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    figures = ["n", "p50", "p95"] if width >= _NARROW else ["n", "p50"]
    drawn.add_column("\ntotal and segments, ms", min_width=20, max_width=max(20, width - 52), no_wrap=True)
    for heading in figures:
        drawn.add_column("1 min\nn" if heading == "n" else f"\n{heading}", justify="right", no_wrap=True, style="cyan")
    for heading in (*figures, "%"):
        drawn.add_column("start\nn" if heading == "n" else f"\n{heading}", justify="right", no_wrap=True)
    minute = {(one.labels, one.size): one for one in snapshot.last_minute.series}
    named = min(_MOST_SEGMENTS, max(0, rows // max(1, len(all_series)) - 2))
    for series in all_series:
        key = series.labels, series.size
        since, last = _figures(snapshot.since_start, series), _figures(snapshot.last_minute, minute.get(key))
        shares = _shares(series)
        shown, rest = _largest(shares, named)
        title = Text(printable(f"{series.labels.label}, {series.size}"), style="bold")
        drawn.add_row(title, *_cells(last, since, TOTAL, width), "", style="bold")
        for segment in shown:
            name = Text("  " + printable(segment_name(segment)))
            drawn.add_row(name, *_cells(last, since, segment, width), _percent(series, [segment]))
        if rest and named:
            blank = [""] * (len(drawn.columns) - 2)
            count = f"  {len(rest)} more segment{'s' * (len(rest) > 1)}"
            drawn.add_row(Text(count, style="dim"), *blank, _percent(series, rest))
    if more := len(snapshot.since_start.series) - len(all_series):
        drawn.add_row(Text(f"{more} more series", style="dim"))
    return drawn


@contextmanager
def live_table(frame: Callable[[], Frame], console: Console) -> Iterator[None]:
    """Show a new frame on the terminal every second, until the end of the `with`."""
    with Live(get_renderable=frame, console=console, screen=True, refresh_per_second=1, vertical_overflow="crop"):
        yield


def is_drawable(console: Console) -> bool:
    """Return whether a console can show it: a terminal that moves its cursor."""
    return console.is_terminal and not console.is_dumb_terminal


def sentence(snapshot: Snapshot) -> str:
    """Return the answer of the last minute, or of all where no image came in it."""
    coverage = snapshot.since_start.coverage
    if not coverage.measured and not coverage.left_out:
        return f"Waiting for images: {snapshot.counts.spans} spans came."
    return answer(snapshot.last_minute if snapshot.last_minute.series else snapshot.since_start).sentence


def rates(snapshot: Snapshot) -> str:
    """Return how much comes, and how much came."""
    counts, images = snapshot.counts, snapshot.since_start.coverage.measured
    parts = [
        f"{snapshot.images_per_second:.1f} images/s",
        f"{snapshot.spans_per_second:.0f} spans/s",
        f"{images} image{'s' * (images != 1)} in {_age(snapshot.seconds)}",
        f"{snapshot.open_traces} under way",
    ]
    if counts.late:
        parts.append(f"{counts.late} late spans")
    return ", ".join(parts)


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _left_out(snapshot: Snapshot) -> list[str]:
    """Return what was counted besides measured images, since the start and in the last minute."""
    coverage = snapshot.since_start.coverage
    if not coverage.left_out and not coverage.retried and not coverage.redelivered:
        return []
    recent = sum(snapshot.last_minute.coverage.left_out.values())
    return [coverage_line(coverage) + (f" (in the last minute {recent})" if coverage.left_out else "")]


def _figures(window: Window, series: SketchedSeries | None) -> Mapping[Stretch, Summary]:
    if series is None:
        return {}
    return {
        stretch: summary(sketch, window.bounds.get((series.labels, series.size, stretch), 0))
        for stretch, sketch in series.columns().items()
    }


def _shares(series: SketchedSeries) -> dict[Segment, float]:
    """Return what share of all images' time each segment is, in the order of the path."""
    columns = series.columns()
    whole = abs(columns[TOTAL].total) or 1  # which may be negative where nothing bounds the clocks
    return {one: sketch.total / whole for one, sketch in columns.items() if isinstance(one, Segment)}


def _largest(shares: Mapping[Segment, float], most: int) -> tuple[list[Segment], list[Segment]]:
    """Return the segments that are named, in the order of the path, and the others."""
    by_share = sorted(shares, key=lambda one: -shares[one])
    shown = [one for one in by_share[:most] if abs(shares[one]) >= _SMALLEST]
    return sorted(shown, key=path_order), [one for one in shares if one not in shown]


def _cells(
    last: Mapping[Stretch, Summary], since: Mapping[Stretch, Summary], stretch: Stretch, width: int
) -> Iterator[str]:
    for figures in (last, since):
        found = figures.get(stretch)
        yield "" if found is None else str(found.n)
        yield "" if found is None else cell(bounded(found.p50, found.bound), "milliseconds")
        if width >= _NARROW:
            yield "" if found is None else cell(as_read(found, found.p95), "milliseconds")


def _percent(series: SketchedSeries, segments: Sequence[Segment]) -> str:
    """Write the share of some segments together, with what the clocks leave open of it; `?` where that is all of it."""
    columns = series.columns()
    stretches: list[Stretch] = [*segments, TOTAL]
    *doubts, doubt_of_total = (sum_of_bounds(series.bounds(one), len(columns[one])) for one in stretches)
    time, total, doubt = sum(columns[one].total for one in segments), columns[TOTAL].total, sum(doubts)
    of_share = share_bound(time, doubt, total, doubt_of_total) if doubt or doubt_of_total else 0
    return percent(time / (total or 1), of_share).replace("%", "")
