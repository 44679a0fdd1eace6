"""The spans of one image, row by row."""

from msgspec.structs import replace
from report_support import contents_of, image, texts, tips
from traces_builder import EVENT_SOURCE, HTTP, KAFKA, MS, linked, spans, with_options

from otel_kfs.report.charts.waterfall import MOST, span_rows, waterfall
from otel_kfs.traces.span import SpanGraph


def chart_of(*images):
    return waterfall(contents_of(images).median_paths[0])


def test_spans_stand_below_their_parents_by_their_starts():
    drawn = spans(HTTP)
    assert [(row.depth, row.span) for row in span_rows(SpanGraph(drawn), drawn[0])] == [
        (depth, span) for depth, span in zip([0, 1, 1, 2, 3, 3, 3, 3, 4, 5, 6, 6, 6, 6, 6, 3], drawn, strict=True)
    ]


def test_parents_in_a_circle_end():
    root, one, other = spans("a  INTERNAL 0 9\n  b  INTERNAL 1 8\n    c  INTERNAL 2 7")
    again = replace(root, parent_id=other.span_id)
    assert len(span_rows(SpanGraph([again, one, other]), again)) == 3


def test_a_consumer_in_a_trace_of_its_own_is_a_row_too():
    drawn = spans(KAFKA)
    assert len(span_rows(SpanGraph(drawn), drawn[0])) == len(drawn)


def test_each_span_says_where_it_ran_when_it_started_and_how_long_it_took():
    found = tips(chart_of(image("a")))
    assert found[-len(spans(HTTP)) :][1] == "encode \u00b7 service \u00b7 INTERNAL: starts at 10.0 ms, takes 100 ms"


def test_the_segments_stand_above_the_spans():
    assert tips(chart_of(image("a")))[:2] == ["client: 10.0 ms", "encode: 100 ms"]


def test_the_stamps_are_numbered():
    assert [t for t in texts(chart_of(image("a"))) if t in {"1", "2", "3", "4"}] == ["1", "2", "3", "4"]


def test_hosts_are_named_where_there_is_more_than_one():
    there = with_options(HTTP, "POST /v1/models", "@gpu-1")
    services = [t for t in texts(chart_of(image("a", drawing=there))) if t.startswith("service")]
    assert services == ["service @host", "service @gpu-1"]


def test_where_a_linked_trace_begins_is_said_above_its_first_span():
    chart = chart_of(image("sent", consumer="went on"))
    (mark,) = [one for one in chart.iter("text") if one.text == "linked trace went on"]
    assert mark.findtext("title") == (
        "Here begins the linked trace went on: process images is no child of send images, but links to it, in the "
        "trace sent"
    )
    rows = [text for text in chart.iter("text") if text is mark or text.text in {"send images", "process images"}]
    assert [(text.text, float(text.get("y"))) for text in rows] == [
        ("send images", 44 + 2 * 19 + 13),
        ("linked trace went on", 44 + 3 * 19 + 14),
        ("process images", 44 + 4 * 19 + 13),
    ]


def test_a_line_stands_beside_every_span_of_a_linked_trace():
    drawn = linked("sent", "went on")
    beside = [one for one in chart_of(image("sent", consumer="went on")).iter("line") if one.get("x1") == "131.5"]
    upright = [one for one in beside if one.get("x2") == "131.5"]
    assert len(upright) == sum(span.trace_id == "went on" for span in drawn)


def test_an_image_in_two_traces_is_one_chart_of_all_its_spans():
    chart = chart_of(image("sent", consumer="went on"))
    assert chart.findtext("desc") == f"Trace sent and linked trace went on: {len(spans(KAFKA))} spans over 1000 ms."
    assert tips(chart)[1:2] == ["encode: 100 ms"]


def test_a_consumer_that_links_within_its_trace_begins_no_other():
    lines = KAFKA.splitlines()
    parentless = "\n".join([*lines[:4], *(line[4:] for line in lines[4:])])
    chart = chart_of(image("a", drawing=with_options(parentless, "process images", "links=a2")))
    assert [text.text for text in chart.iter("text") if "linked" in (text.text or "")] == []
    assert "process images" in texts(chart)


def test_a_failed_span_is_marked():
    retried = HTTP.replace("  encode ", "  POST                          CLIENT    111  120  failed\n  encode ")
    assert any(t.startswith("\u2715 POST") for t in texts(chart_of(image("a", drawing=retried))))


def test_of_very_many_spans_the_first_are_drawn_and_the_rest_is_counted():
    many = HTTP + "".join(f"  again {n}  INTERNAL  960  961\n" for n in range(200))
    chart = chart_of(image("a", drawing=many))
    assert texts(chart)[-1] == f"and {len(spans(many)) - MOST} more spans"


def test_spans_and_segments_of_other_hosts_stand_where_the_tables_have_them():
    ahead = 6000 * MS
    images = []
    for number in range(3):
        drawn = spans(with_options(KAFKA, "process images", "@bridge"), f"{number}")
        # The sender asks the bridge's host, too, so that something is known of its clock.
        drawn += spans(with_options(HTTP, "POST /v1/models", "@bridge"), f"h{number}")
        images.append(
            [
                replace(one, start=one.start + ahead, end=one.end + ahead) if one.host == "bridge" else one
                for one in drawn
            ]
        )
    found = contents_of(images)
    (drawn,) = [one for one in found.median_paths if one.of.series.labels.transport == "kafka"]
    assert drawn.path.stamps[3] - drawn.path.stamps[0] == drawn.of.total.summary.p50
    (process,) = [one for one in drawn.graph if one.name == "process images"]
    # The clocks are known within 50 ms.
    assert abs(process.end - drawn.root.start - 1000 * MS) <= 30 * MS
    assert drawn.unknown == frozenset()
    assert waterfall(drawn).findtext("desc") == "Trace 1: 18 spans over 1005 ms."


def test_a_host_of_whose_clock_nothing_is_known_is_marked():
    chart = chart_of(image("a", drawing=with_options(EVENT_SOURCE, "POST /", "@elsewhere")))
    assert [text for text in texts(chart) if "\u00b1?" in text] == ["service @elsewhere \u00b1?"]
