"""The report of a measurement as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from otel_kfs.analysis.measurement import MOST_RUNS
from otel_kfs.analysis.paths.coverage import NOT_PROCESSED
from otel_kfs.analysis.paths.segment import OWN_STAMPS, TOTAL, Stretch
from otel_kfs.analysis.statistics import INTERVAL_NEEDS, P90_NEEDS, P95_NEEDS, P99_NEEDS, Summary
from otel_kfs.report.charts import distributions, sizes, stacked_bars, waterfall
from otel_kfs.report.clock_lines import clock_lines
from otel_kfs.report.contents import Contents
from otel_kfs.report.coverage_lines import coverage_line
from otel_kfs.report.html.html_file import drawn, html_file, sentences
from otel_kfs.report.tables.rows import seed_tables
from otel_kfs.report.tables.table import Table
from otel_kfs.report.tables.table_notes import size_notes


class _Column(NamedTuple):
    heading: str
    of: Callable[[Summary], int | None]


_COLUMNS = (
    _Column("mean", lambda found: found.mean),
    _Column("sd", lambda found: found.sd),
    _Column("p50", lambda found: found.p50),
    _Column("p90", lambda found: found.p90),
    _Column("p95", lambda found: found.p95),
    _Column("p99", lambda found: found.p99),
    _Column("max", lambda found: found.max),
)


def page(contents: Contents) -> str:
    """Return the HTML file's text."""
    start, end = contents.time_range
    measurement = contents.measurement
    rows = [(report, row) for report in contents.series for row in report.rows]
    totals = [(report, report.total) for report in contents.series]
    sized = sizes.has_sizes(contents)
    stretches: list[Stretch] = [TOTAL, *contents.segments]
    answer, *more = sentences(contents.answer)
    return html_file(
        "page.html",
        contents.segments,
        contents=contents,
        origin=contents.origin,
        answer=answer,
        more=more,
        coverage=coverage_line(measurement.coverage),
        left_out=sorted(measurement.coverage.left_out.items()),
        not_processed=NOT_PROCESSED,
        most_runs=MOST_RUNS,
        linked=bool(measurement.linked),
        hosts=measurement.hosts,
        own_stamps=any(segment.place.name == OWN_STAMPS for segment in contents.segments),
        start=start,
        end=end,
        two_clocks=bool(measurement.offsets),
        clocks=clock_lines(measurement.offsets),
        unknown=any(row.is_unknown for _, row in rows),
        negative=[(report, row) for report, row in rows if row.mean < 0],
        size_notes=[note[0].upper() + note[1:] for note in size_notes(measurement.series)],
        stamps=_pairs(seed_tables([report.series for report in contents.series])),
        # Of a percentile that no n is large enough for there is no column.
        columns=[column for column in _COLUMNS if any(column.of(row.summary) is not None for _, row in rows + totals)],
        needs={"p90": P90_NEEDS, "p95": P95_NEEDS, "p99": P99_NEEDS, "interval": INTERVAL_NEEDS},
        costs=[
            (group, stretch, line)
            for group in contents.by_labels
            for stretch, line in ((TOTAL, group.fits.total), *group.fits.segments.items())
            if line is not None
        ],
        bars=drawn(stacked_bars.stacked_bars(contents)),
        narrow_bars=drawn(stacked_bars.stacked_bars(contents, stacked_bars.NARROW)),
        spread=[
            (stretch, [drawn(chart) for chart in distributions.distributions(contents, stretch)])
            for stretch in stretches
        ],
        large=drawn(sizes.sizes(contents)) if sized else None,
        narrow_large=drawn(sizes.sizes(contents, narrow=True)) if sized else None,
        small=[drawn(chart) for chart in sizes.small(contents, sizes.that_matter(contents))] if sized else [],
        median_paths=[
            (one, drawn(waterfall.waterfall(one)), drawn(waterfall.waterfall(one, waterfall.NARROW)))
            for one in contents.median_paths
        ],
    )


def _pairs(tables: Sequence[Table]) -> list[tuple[Table, Table]]:
    """Return each table of seconds with that of the same images' unix times."""
    half = len(tables) // 2
    return list(zip(tables[:half], tables[half:], strict=True))
