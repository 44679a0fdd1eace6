"""Hosts of one name and several clocks: found by times that contradict one clock, told apart, and said."""

from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from msgspec.structs import replace
from traces_builder import HTTP, MS, Store, at, spans, with_options

from otel_kfs.analysis import pipeline
from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.analysis.paths.segment import TOTAL
from otel_kfs.analysis.paths.shared_host_names import contradicted
from otel_kfs.analysis.reading.group_by_trace import _partition
from otel_kfs.report.clock_lines import clock_lines
from otel_kfs.traces.file_reader import File
from otel_kfs.traces.files import Files
from otel_kfs.traces.span import Span, SpanGraph

SAVED = Path(__file__).parents[2] / "data/traces"
SERVED = with_options(HTTP, "POST /v1/models", "service=server")
APART = {("host (server's)", "host (service's)")}


def of_server(drawn, milliseconds):
    """The spans as they are where the server's clock is ahead."""
    ahead = milliseconds * MS
    return [replace(s, start=s.start + ahead, end=s.end + ahead) if s.service == "server" else s for s in drawn]


def images(*ahead):
    return [span for number, by in enumerate(ahead) for span in of_server(spans(SERVED, f"image {number}"), by)]


@pytest.mark.parametrize(
    ("ahead", "found"), [(0, set()), (-19, set()), (-21, {"host"}), (29, set()), (31, {"host"}), (5000, {"host"})]
)
def test_a_request_can_t_arrive_before_it_was_sent_nor_be_answered_after_it(ahead, found):
    assert contradicted(SpanGraph(images(ahead))) == found


def test_a_server_s_own_span_may_end_after_the_client_has_the_answer():
    late = spans(with_options(SERVED.replace("SERVER    200  970", "SERVER    200  999"), "POST", ""))
    assert contradicted(SpanGraph(late)) == set()


def test_a_server_without_steps_is_looked_at_by_its_start():
    drawing = "POST  CLIENT  10  90\n  POST  SERVER  {}  95  service=server"
    assert [contradicted(SpanGraph(spans(drawing.format(start)))) for start in (9, 20, 91)] == [
        {"host"},
        set(),
        {"host"},
    ]


BEHIND_A_PROXY = """
    POST               CLIENT    100  900
      in               {proxy}  110  890  service={name}
        POST :predict  SERVER    200  800  service=server
          receive      INTERNAL  200  300
          postprocess  INTERNAL  500  700
"""


@pytest.mark.parametrize(
    ("ahead", "found"), [(0, set()), (-91, {"host"}), (189, set()), (191, {"host"}), (5000, {"host"})]
)
@pytest.mark.parametrize("proxy", ["SERVER", "CLIENT"])
def test_nor_is_it_answered_after_a_proxy_has_answered_that_has_one_span(proxy, ahead, found):
    assert contradicted(SpanGraph(of_server(spans(BEHIND_A_PROXY.format(proxy=proxy, name="edge")), ahead))) == found


@pytest.mark.parametrize(("ahead", "found"), [(0, set()), (-101, {"host"}), (199, set()), (201, {"host"})])
@pytest.mark.parametrize("proxy", ["SERVER", "CLIENT"])
def test_nor_after_whoever_asked_a_proxy_that_has_the_server_s_clock(proxy, ahead, found):
    drawing = BEHIND_A_PROXY.format(proxy=proxy, name="server").replace("110  890", "200  800")
    assert contradicted(SpanGraph(of_server(spans(drawing), ahead))) == found


def test_a_request_that_was_placed_too_late_contradicts_nothing():
    drawn = images(-21)
    program = {**drawn[0].attributes, "process.executable.name": "curl"}
    assert contradicted(SpanGraph([replace(drawn[0], attributes=program), *drawn[1:]])) == set()


def test_spans_of_one_clock_contradict_nothing_whichever_of_them_are_lost():
    saved = Files([File(str(path)) for path in sorted(SAVED.glob("*.jsonl"))])
    by_trace: dict[str, list[Span]] = {}
    for span in saved.spans():
        by_trace.setdefault(span.trace_id, []).append(span)
    for trace in by_trace.values():
        for lost in combinations(trace, 2):
            assert contradicted(SpanGraph(span for span in trace if span not in lost)) == set()


def test_a_step_that_was_given_to_a_server_for_want_of_its_own_proves_nothing():
    drawing = """
        send image        INTERNAL    0  100
          POST            CLIENT     10   60
            POST          SERVER     20   90  service=server
              decode      INTERNAL   30   40
    """
    lost = replace(spans(drawing)[3], span_id="lost", parent_id="missing", start=at(70), end=at(80), service="other")
    assert contradicted(SpanGraph([*spans(drawing), lost])) == set()


def test_of_one_name_with_several_clocks_each_service_is_a_host_in_all_images():
    found = pipeline.read(Store(images(3, 31, 12)), processes=1)
    assert (found.coverage.measured, found.coverage.left_out, found.pairs - {p[::-1] for p in APART}) == (3, {}, APART)
    (series,) = corrected(found).series
    assert set(series.stamp_bounds) == {"2-1", "4-3"}


def test_that_it_is_so_is_said():
    lines = clock_lines(corrected(pipeline.read(Store(images(31)), processes=1)).offsets)
    assert lines[1] == (
        "clocks: what says that it runs on host can't have one clock, so each service counts as a host: host "
        "(server's), host (service's); other names for them in host.name, or k8s.node.name of pods, would tell"
    )


def test_what_two_clocks_do_not_explain_is_left_out_as_before():
    # The server's clock would have to be ahead and behind at the same time.
    first, second = of_server(spans(SERVED, "one"), 500), of_server(spans(SERVED, "two"), -500)
    found = pipeline.read(Store([*first, *second]), processes=1)
    assert (found.pairs, found.coverage.measured, sum(found.coverage.left_out.values())) == (set(), 0, 2)


@pytest.mark.parametrize("few", [0, 50_000])
@pytest.mark.parametrize(("first", "times"), [(31, 1), (3, 2)])
def test_images_are_searched_again_only_where_the_first_of_them_contradict_nothing(first, times, few, monkeypatch):
    searched = Counter()

    def find(graph):
        searched.update(span.trace_id for span in graph if span.parent_id is None)
        return critical_paths(graph)

    monkeypatch.setattr("otel_kfs.analysis.reading.group_by_trace.FEW", few)
    monkeypatch.setattr("otel_kfs.analysis.pipeline._LOOKED_AT", 1)
    drawn = images(first, *[31] * 5)
    trace_ids = sorted({span.trace_id for span in drawn}, key=_partition)
    ordered = dict(zip([f"image {number}" for number in range(6)], trace_ids, strict=True))  # the first is met first
    drawn = [replace(span, trace_id=ordered[span.trace_id]) for span in drawn]
    assert pipeline.read(Store(drawn), find, processes=1).pairs >= APART
    assert searched == Counter(dict.fromkeys(trace_ids, times))


@pytest.mark.sketch
def test_sketches_tell_the_same_hosts_apart():
    store = Store(images(3, 31, 12))
    sketches, measurement = pipeline.read_sketches(store, processes=1), pipeline.read(store, processes=1)
    assert (sketches.apart, sketches.pairs) == (measurement.apart, measurement.pairs)
    assert [series.columns()[TOTAL].mean for series in sketches.correct_skew()[0]] == [1000 * MS]
