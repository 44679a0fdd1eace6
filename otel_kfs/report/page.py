"""The report as one HTML file, which loads nothing from elsewhere and in which every name is escaped."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from otel_kfs.analysis.measurement import MOST_RUNS
from otel_kfs.analysis.paths.coverage import NOT_PROCESSED
from otel_kfs.analysis.paths.segment import OWN_STAMPS, TOTAL, Stretch
from otel_kfs.analysis.statistics import INTERVAL_NEEDS, P90_NEEDS, P95_NEEDS, P99_NEEDS, Summary
from otel_kfs.report import render
from otel_kfs.report.charts import distributions, palette, sizes, stacked_bars, svg, waterfall
from otel_kfs.report.charts.axis import MS, milliseconds
from otel_kfs.report.contents import Contents
from otel_kfs.report.rows import clock_lines, coverage_line, seed_tables, size_notes
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.printable import printable

_HERE = Path(__file__).parent
_LINKS = ("#1b5faa", "#82b7f2")


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
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = lambda text: printable(str(text))
    environment.filters["segment_name"] = segment_name
    style, script = _style(), (_HERE / "page.js").read_text(encoding="utf-8")
    start, end = contents.time_range
    measurement = contents.measurement
    rows = [(report, row) for report in contents.series for row in report.rows]
    totals = [(report, report.total) for report in contents.series]
    sized = sizes.has_sizes(contents)
    stretches: list[Stretch] = [TOTAL, *contents.segments]
    return environment.get_template("page.html").render(
        contents=contents,
        origin=contents.origin,
        coverage=coverage_line(measurement.coverage),
        left_out=sorted(measurement.coverage.left_out.items()),
        not_processed=NOT_PROCESSED,
        most_runs=MOST_RUNS,
        linked=bool(measurement.linked),
        hosts=measurement.hosts,
        own_stamps=any(segment.place.name == OWN_STAMPS for segment in contents.segments),
        start=start,
        end=end,
        total=TOTAL,
        two_clocks=bool(measurement.offsets),
        clocks=clock_lines(measurement.offsets),
        negative=[(report, row) for report, row in rows if row.mean < 0],
        size_notes=[note[0].upper() + note[1:] for note in size_notes(measurement.series)],
        seed_tables=seed_tables([report.series for report in contents.series]),
        # Of a percentile that no n is large enough for there is no column.
        columns=[column for column in _COLUMNS if any(column.of(row.summary) is not None for _, row in rows + totals)],
        needs={"p90": P90_NEEDS, "p95": P95_NEEDS, "p99": P99_NEEDS, "interval": INTERVAL_NEEDS},
        costs=[
            (group, stretch, line)
            for group in contents.by_labels
            for stretch, line in ((TOTAL, group.fits.total), *group.fits.segments.items())
            if line is not None
        ],
        bars=_drawn(stacked_bars.stacked_bars(contents)),
        spread=[
            (stretch, [_drawn(chart) for chart in distributions.distributions(contents, stretch)])
            for stretch in stretches
        ],
        large=_drawn(sizes.sizes(contents)) if sized else None,
        small=[_drawn(chart) for chart in sizes.small(contents, sizes.that_matter(contents))] if sized else [],
        median_paths=[(one, _drawn(waterfall.waterfall(one))) for one in contents.median_paths],
        segment_class=palette.segment_class,
        cell=render.cell,
        ms=milliseconds,
        figure=_figure,
        off=_off,
        percent=lambda share: f"{share:.1%}".replace("-", "\N{MINUS SIGN}"),
        # Files of ours, without a figure or a name in them.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _style() -> str:
    def theme(number: int) -> str:
        variables = "".join(f"--{name}:{colours[number]};" for name, colours in palette.INK.items())
        return f":root{{{variables}--link:{_LINKS[number]}}}\n{palette.style(number)}"

    # Paper is light, whatever the screen is.
    dark = f"@media screen and (prefers-color-scheme: dark) {{\n{theme(1)}\n}}"
    return f"{theme(0)}\n{dark}\n{(_HERE / 'page.css').read_text(encoding='utf-8')}"


def _drawn(chart: Element) -> Markup:
    return Markup(svg.markup(chart))  # noqa: S704 - ElementTree has escaped it


def _figure(nanoseconds: float | None, digits: int = 1) -> str:
    """Write milliseconds for a table's cell; an empty text for None."""
    if nanoseconds is None:
        return ""
    value = (Decimal(nanoseconds) / Decimal(MS)).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)
    return str(abs(value) if value.is_zero() else value).replace("-", "\N{MINUS SIGN}")


def _off(nanoseconds: int, bound: float, digits: int = 1) -> str:
    """Write how many milliseconds a figure may be off as `_figure` writes it; nothing if it is exact."""
    if not bound:
        return ""
    if math.isinf(bound):
        return "?"
    digit = Decimal(1).scaleb(-digits)
    exact = Decimal(nanoseconds) / Decimal(MS)
    rounded = abs(exact - exact.quantize(digit, ROUND_HALF_EVEN))
    return str((Decimal(bound) / Decimal(MS) + rounded).quantize(digit, ROUND_CEILING))


def _hash(text: str) -> str:
    """Return the hash by which a content security policy names what may run."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
