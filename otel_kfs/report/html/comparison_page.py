"""A comparison as one HTML file: the sentences first, then both sides' bars, each difference, and every figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from otel_kfs.analysis.comparison import Comparison, Comparisons
from otel_kfs.report.charts import compared_bars
from otel_kfs.report.contents import Origin
from otel_kfs.report.html.html_file import drawn, html_file
from otel_kfs.report.tables import comparison_rows


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: what was asked, and one line on what was measured and chosen."""

    query: str
    line: str


def comparison_page(found: Comparisons, a: Side, b: Side, origin: Origin) -> str:
    """Return the HTML file's text."""
    segments = compared_bars.segments_of(found.of_sizes)
    first, *others = _largest_first(found.of_sizes)
    return html_file(
        "comparison.html",
        segments,
        found=found,
        sides=(("A", a), ("B", b)),
        origin=origin,
        answer=comparison_rows.verdict(first),
        is_known=not math.isinf(first.total.bound),
        counted=comparison_rows.counted(found.of_sizes) if others else "",
        others=[comparison_rows.verdict(of) for of in found.of_sizes if of is not first],
        unmatched=comparison_rows.unmatched_lines(found),
        notes=comparison_rows.notes(found),
        bars=drawn(compared_bars.compared_bars(found.of_sizes, segments)),
        narrow_bars=drawn(compared_bars.compared_bars(found.of_sizes, segments, compared_bars.NARROW)),
        differences=[
            (
                of,
                comparison_rows.title(of),
                sum(not math.isinf(one.bound) for one in folded),
                comparison_rows.unknown_line(folded),
                *(drawn(compared_bars.differences(of, shown, layout)) for layout in _LAYOUTS),
            )
            for of in found.of_sizes
            for shown, folded in [comparison_rows.folded(of)]
        ],
        rows=[(of, one) for of in found.of_sizes for one in (*of.segments, of.total)],
        mark=comparison_rows.mark,
        share=comparison_rows.share_of_a,
    )


_LAYOUTS = (compared_bars.WIDE, compared_bars.NARROW)


def _largest_first(compared: Sequence[Comparison]) -> list[Comparison]:
    """Sort by how much B differs from A; what is not beyond noise comes later, what nothing bounds last."""
    return sorted(
        compared,
        key=lambda of: (
            math.isinf(of.total.bound),
            not of.total.differs,
            -abs(of.total.relative(of.total.difference) or 0),
        ),
    )
