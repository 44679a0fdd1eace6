"""The notes below tables."""

from traces_builder import MS

from otel_kfs.analysis.skew_correction import TwoClocks
from otel_kfs.analysis.statistics import Summary
from otel_kfs.report.tables import table_notes


def test_bounds_that_are_wider_for_some_images_are_told():
    summaries = [
        ("broker of 1.1MB", Summary(3, *[0] * 8, bound=MS, widest=3 * MS)),
        ("x", Summary(3, *[0] * 8, bound=MS, widest=MS)),
    ]
    (note,) = table_notes.clock_notes(TwoClocks.BOUNDED, summaries)
    assert note.endswith("and so in a row's other figures, it is up to \u00b13.0 ms for broker of 1.1MB")


def test_of_many_bounds_that_are_wider_for_some_images_the_widest_are_told():
    summaries = [(f"s{n}", Summary(3, *[0] * 8, bound=MS, widest=n * MS)) for n in range(2, 9)]
    (note,) = table_notes.clock_notes(TwoClocks.BOUNDED, summaries)
    assert note.endswith(
        "up to \u00b18.0 ms for s8, \u00b17.0 ms for s7, \u00b16.0 ms for s6, \u00b15.0 ms for s5, less for 3 more"
    )
