"""The path that a stamps file's stamps make through drawn traces, and what is left out."""

import pytest
from msgspec.structs import replace
from traces_builder import at, spans

from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.skew_correction import correct_skew
from otel_kfs.analysis.stamps.stamped_path import stamped_paths
from otel_kfs.analysis.stamps.stamps_file import Stamp, StampsFile
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.span import Kind, SpanGraph

ORDER = """
order             SERVER     0  100  service=shop
  charge          CLIENT     2   30
    pay           SERVER     5   28  service=bank @bank
  send            PRODUCER  32   34
    take          CONSUMER  60   95  service=packers
      pack        INTERNAL  62   80
      label       INTERNAL  82   90
"""
STAMPS = (
    Stamp("start", 1, span="order"),
    Stamp("end", None, "payment", span="charge"),
    Stamp("start", 2, "hand over", kind=Kind.PRODUCER),
    Stamp("start", 3, "wait", service="packers", kind=Kind.CONSUMER),
    Stamp("end", 4, "packing", span="label"),
)
FILE = StampsFile("Orders", STAMPS)


def found(drawing, *stamps, trace="a", **settings):
    return stamped_paths(SpanGraph(spans(drawing, trace)), StampsFile("Orders", stamps or STAMPS, **settings))


def sections(path):
    """Name, and start and end in ms, of each section."""
    return [
        (segment_name(one.segment), *((moment - at(0)) // 10**6 for moment in (one.start, one.end)))
        for one in path.sections
    ]


def test_a_path_goes_from_stamp_to_stamp():
    (path,), coverage = found(ORDER)
    assert sections(path) == [("payment", 0, 30), ("hand over", 30, 32), ("wait", 32, 60), ("packing", 60, 90)]
    assert path.stamps == (at(0), at(32), at(60), at(90))
    assert coverage == Coverage(measured=1, what="path")


def test_segments_are_in_the_order_of_the_file():
    series = measured(found(ORDER)[0]).all_series()[0]
    assert [segment_name(one) for one in series.ordered_segments()] == ["payment", "hand over", "wait", "packing"]


def test_a_stamp_without_a_span_gives_its_time_to_the_next_segment_which_says_so():
    (path,), _ = found(ORDER.replace("CONSUMER", "INTERNAL"))
    assert sections(path)[2:] == [("packing (no wait span)", 32, 90)]
    assert path.stamps == (at(0), at(32), None, at(90))


def test_without_the_last_stamp_there_is_no_path():
    assert found(ORDER.replace("label ", "print ")) == (
        [],
        Coverage(left_out={"no span is stamp 4": 1}, what="path"),
    )


def test_a_trace_without_the_first_stamp_is_something_else():
    assert found(ORDER.replace("order ", "visit ")) == ([], Coverage(what="path"))


def test_each_span_that_fits_the_first_stamp_begins_a_path_of_what_is_below_it():
    two = """
batch            INTERNAL   0  100
  order          INTERNAL   1   40
    label        INTERNAL   5   30
  order          INTERNAL  41   90
    label        INTERNAL  50   60
"""
    paths, coverage = found(two, STAMPS[0], Stamp("end", 4, "all", span="label"))
    assert [sections(path) for path in paths] == [[("all", 1, 30)], [("all", 41, 60)]]
    assert [path.key for path in paths] == [("a", "a1"), ("a", "a3")]
    assert coverage.measured == 2


def test_a_path_begins_at_the_outermost_of_the_spans_that_fit_the_first_stamp():
    nested = "order  SERVER  0 50\n  order  INTERNAL  5 40\n    label  INTERNAL  10 20\n"
    (path,), coverage = found(nested, STAMPS[0], Stamp("end", 4, "all", span="label"))
    assert (sections(path), coverage.measured) == ([("all", 0, 20)], 1)


def test_spans_whose_parents_are_a_circle_are_one_path():
    one, two = spans("order  INTERNAL  0 50\n  order  INTERNAL  5 40\n")
    graph = SpanGraph([replace(one, parent_id=two.span_id), two])
    paths, _ = stamped_paths(graph, StampsFile("Orders", (STAMPS[0], Stamp("end", 4, "all", span="order"))))
    assert [sections(path) for path in paths] == [[("all", 0, 40)]]


@pytest.mark.timeout(20)
def test_thousands_of_spans_that_fit_one_below_the_other_take_no_more_than_linear_time():
    (order, *_) = spans(ORDER)
    deep = [replace(order, span_id=f"{n}", parent_id=f"{n - 1}" if n else None) for n in range(20_000)]
    graph = SpanGraph(deep)
    assert stamped_paths(graph, FILE)[1].left_out == {"no span is stamp 4": 1}


def test_where_one_span_fits_the_first_stamp_the_others_may_be_anywhere_in_the_trace():
    beside = "all  INTERNAL  0 100\n  order  INTERNAL  1 20\n  label  INTERNAL  30 40\n"
    (path,), _ = found(beside, STAMPS[0], Stamp("end", 4, "all", span="label"))
    assert sections(path) == [("all", 1, 40)]


@pytest.mark.parametrize(("last", "end"), [(False, 20), (True, 50)])
def test_of_several_spans_the_first_counts_or_the_last(last, end):
    several = "order  INTERNAL  0 100\n  try  INTERNAL  10 20\n  try  INTERNAL  40 50\n"
    (path,), _ = found(several, STAMPS[0], Stamp("end", 4, "tries", span="try", last=last))
    assert sections(path) == [("tries", 0, end)]


def test_the_first_is_one_that_is_not_before_the_stamp_before_it():
    again = "order  INTERNAL  0 100\n  pack  INTERNAL  10 20\n  check  INTERNAL  30 35\n  pack  INTERNAL  40 50\n"
    stamps = (STAMPS[0], Stamp("end", None, "check", span="check"), Stamp("end", 4, "pack", span="pack"))
    (path,), _ = found(again, *stamps)
    assert sections(path) == [("check", 0, 35), ("pack", 35, 50)]


def test_a_stamp_that_is_before_the_one_before_it_leaves_the_path_out():
    stamps = (Stamp("end", 1, span="order"), Stamp("end", 4, "pack", span="label"))
    assert found(ORDER, *stamps) == ([], Coverage(left_out={"`label` is out of order": 1}, what="path"))


def test_a_consumer_s_linked_trace_is_part_of_the_path():
    producer = "order  SERVER  0 50\n  send  PRODUCER  10 20  id=sent\n"
    consumer = "take  CONSUMER  60 90  links=a/sent\n  label  INTERNAL  70 80\n"
    graph = SpanGraph([*spans(producer), *spans(consumer, "b")])
    (path,), _ = stamped_paths(graph, StampsFile("Orders", (STAMPS[0], Stamp("end", 4, "all", span="label"))))
    assert (sections(path), path.linked) == ([("all", 0, 80)], ("b",))


def test_segments_between_hosts_are_bounded_by_requests_and_their_answers():
    stamps = (STAMPS[0], Stamp("start", 2, "to the bank", service="bank"), Stamp("end", 4, "back", span="charge"))
    (path,), _ = found(ORDER, *stamps)
    assert [one.hosts for one in path.sections] == [("host", "bank"), ("bank", "host")]
    assert path.before == (("host", at(2), "bank", at(5)), ("bank", at(5), "host", at(30)))
    assert path.hosts[::3] == ("host", path.sections[-1].hosts[1])
    _, bounds = correct_skew(measured([path]))
    # The bank's span begins 3 ms after the request's start and 25 before its end: 14 either way. It may end after that.
    (bound,) = [bound for (*_, name), bound in bounds.items() if segment_name(name) == "to the bank"]
    assert bound == pytest.approx(14_000_000, rel=0.01)  # besides what the clocks may drift


def labelled(**attributes):
    drawn = spans(ORDER)
    return [replace(drawn[0], attributes=attributes), *drawn[1:]]


@pytest.mark.parametrize(
    ("settings", "attributes", "row", "group"),
    [
        ({}, {}, "all", ""),
        ({"size": "items", "unit": "items"}, {"items": 12}, "12 items", ""),
        ({"size": "items", "unit": "items"}, {}, "?", ""),
        ({"size": "kind"}, {"kind": "large"}, "large", ""),
        ({"size": "bytes"}, {"bytes": 1_482_786}, "1.5MB", ""),
        ({"size": "bytes"}, {"bytes": "1482786"}, "1.5MB", ""),
        ({"size": "bytes"}, {"bytes": "9" * 19}, "9" * 19, ""),
        ({"size": "bytes"}, {}, "?", ""),
        ({"size": "weight"}, {"weight": 2.5}, "2.5", ""),
        ({"group": "gift"}, {"gift": True}, "all", "true"),
        ({"group": "gift"}, {}, "all", "?"),
    ],
)
def test_rows_and_tables_are_by_attributes(settings, attributes, row, group):
    paths, _ = stamped_paths(SpanGraph(labelled(**attributes)), StampsFile("Orders", STAMPS, **settings))
    (series,) = measured(paths).all_series()
    assert (series.size, series.labels.cell, series.labels.transport) == (row, group, "Orders")


def test_a_size_that_one_program_writes_as_text_and_another_as_a_number_is_one():
    paths = []
    for number, size in enumerate((1_110_000, "1110000", "small")):
        drawn = [replace(span, trace_id=f"t{number}") for span in labelled(bytes=size)]
        paths += stamped_paths(SpanGraph(drawn), StampsFile("Orders", STAMPS, size="bytes"))[0]
    measurement = measured(paths)
    measurement.sort()
    assert [(series.size, [*series.image_sizes]) for series in measurement.all_series()] == [
        ("small", []),
        ("1.1MB", [1_110_000, 1_110_000]),
    ]


def test_rows_are_sorted_by_their_numbers():
    settings = StampsFile("Orders", STAMPS, size="items", unit="items")
    paths = []
    for number, items in enumerate((12, 3, 100)):
        drawn = [replace(span, trace_id=f"t{number}") for span in labelled(items=items)]
        paths += stamped_paths(SpanGraph(drawn), settings)[0]
    assert [series.size for series in measured(paths).all_series()] == ["3 items", "12 items", "100 items"]


def test_an_attribute_is_that_of_the_first_stamp_s_span_that_has_it():
    drawn = spans(ORDER)
    drawn = [replace(span, attributes={"items": number}) for number, span in enumerate(drawn) if span.name != "x"]
    drawn[0] = replace(drawn[0], attributes={})
    paths, _ = stamped_paths(SpanGraph(drawn), StampsFile("Orders", STAMPS, size="items", unit="items"))
    assert paths[0].row == "1 items"  # of `charge`


def test_a_size_or_group_that_no_stamp_s_span_has_is_counted():
    sized = ORDER.replace("service=shop", "service=shop .order.items=3", 1)
    _, coverage = found(sized, size="order.items", group="payment.method")
    assert coverage == Coverage(measured=1, what="path", lacking={"`payment.method` (group)": 1})
