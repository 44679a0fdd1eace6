"""What lies between two hosts is corrected by their clocks' difference, and its true length lies in the bound."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sketch_support import ON_HOSTS, SECOND, Clock, image, run, seen
from traces_builder import EPOCH, EVENT_SOURCE, HTTP, KAFKA, MS, segment, with_options

from otel_kfs.analysis.measurement import TOTAL, measured
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.analysis.skew_correction import correct_skew, offsets
from otel_kfs.report.clock_lines import clock_lines
from otel_kfs.report.records import segment_records
from otel_kfs.report.tables import rows, table, table_notes
from otel_kfs.traces.span import SpanGraph

TO_TRANSFORMER = segment("transformer request")
END = 2**63 - 1  # ns, of what 64 bits hold
clocks = st.builds(Clock, st.integers(-5 * SECOND, 5 * SECOND), st.integers(-5 * SECOND // 600, 5 * SECOND // 600))


def measure(drawn):
    found, account = critical_paths(SpanGraph(drawn))
    assert account == Coverage(measured=len(found))
    measurement = measured(found, account)
    measurement.sort()
    return measurement


@given(
    st.fixed_dictionaries(dict.fromkeys(("host", "bridge", "transformer", "predictor"), clocks)),
    st.lists(st.tuples(st.integers(0, 50 * SECOND), st.floats(0.1, 3)), min_size=2, max_size=6),
)
@settings(max_examples=100)
def test_the_true_lengths_lie_in_the_bounds_for_any_offset_and_drift(by_host, sent):
    images, at = [], 0
    for number, (pause, factor) in enumerate(sent):
        for drawing in ON_HOSTS.values():
            images.append(image(drawing, f"{len(images):032x}", at := at + pause + number, factor))
            at += round(factor * SECOND)
    true, found = measure([one for spans_ in images for one in spans_]), measure(seen(images, by_host))
    all_series, bounds = correct_skew(found)

    def by(host, start, end):
        return by_host[host].shows(end) - by_host[host].shows(start)

    for series, of_truth in zip(all_series, true.all_series(), strict=True):
        moments = {}
        for number, (route, own) in enumerate(zip(of_truth.routes, of_truth.crossings, strict=True)):
            for place, one in enumerate(list(true.routes)[route].crossings):
                moments[one.segment, number] = one.begins, own[2 * place], own[2 * place + 1]
        crossing = {one.segment for route in true.routes for one in route.crossings} & set(of_truth.segments)
        # A hop through the topic goes one way, but sender and bridge both ask the transformer.
        assert math.inf not in bounds.values()
        for name in crossing:
            durations = series.segments[name]
            bound_of = durations.bounds or [0] * len(durations)
            for number, now, bound in zip(durations.images, durations.values, bound_of, strict=True):
                # A length between two hosts is that by the first one's clock.
                assert abs(now - by(*moments[name, number])) <= bound + 2
        for name, host, first, last in (("2-1", "host", 0, 1), ("4-3", "transformer", 2, 3), ("4-1", "host", 0, 3)):
            for number in range(len(series)):
                truth = by(host, of_truth.stamps[first][number], of_truth.stamps[last][number])
                now = series.stamps[last][number] - series.stamps[first][number]
                assert abs(now - truth) <= series.stamp_bound(name, number) + 2
        sums = [0] * len(series)
        for durations in series.segments.values():
            for number, length in zip(durations.images, durations.values, strict=True):
                sums[number] += length
        assert sums == series.totals()


def test_on_one_host_nothing_is_changed():
    measurement = measure([one for spans_ in run(HTTP, [0, SECOND]) for one in spans_])
    assert correct_skew(measurement) == (measurement.all_series(), {})
    assert offsets(measurement) == {}


def test_a_clock_that_is_five_seconds_fast_is_taken_off():
    images = run(ON_HOSTS["http"], [0, 5 * SECOND, 10 * SECOND])
    by_host = {"host": Clock(), "transformer": Clock(5 * SECOND), "predictor": Clock(-3 * SECOND)}
    all_series, bounds = correct_skew(measure(seen(images, by_host)))
    # Between the drawn 20 ms of the request and the 30 ms of its answer.
    assert list(all_series[0].segments[TO_TRANSFORMER].values) == [pytest.approx(25 * MS, abs=5 * MS)] * 3
    assert bounds[all_series[0].labels, all_series[0].size, TO_TRANSFORMER] == pytest.approx(25 * MS, abs=5 * MS)
    assert [row[1:] for row in rows.seed_tables(all_series)[0].rows] == [
        (
            table.Bounded(pytest.approx(205 * MS, abs=5 * MS), pytest.approx(25 * MS, abs=5 * MS)),
            200 * MS,
            table.Bounded(pytest.approx(595 * MS, abs=5 * MS), pytest.approx(25 * MS, abs=5 * MS)),
            1000 * MS,
        )
    ]


def test_how_the_clocks_stood_is_a_line_a_pair_of_hosts():
    images = run(ON_HOSTS["http"], [0, 5 * SECOND, 10 * SECOND])
    by_host = {"host": Clock(), "transformer": Clock(5 * SECOND), "predictor": Clock(-3 * SECOND)}
    lines = clock_lines(offsets(measure(seen(images, by_host))))
    assert [line.partition(" \u00b1")[0] for line in lines] == [
        "clocks: transformer is 4995.0",
        "clocks: transformer is 8007.5",
    ]
    assert [line.partition(" ms ")[2] for line in lines] == ["ahead of host", "ahead of predictor"]


def test_a_pair_that_nothing_bounds_is_left_as_it_was_read_and_said():
    # The server's own end is later than the answer's arrival: these clocks contradict themselves.
    images = run(ON_HOSTS["http"], [0, 5 * SECOND, 10 * SECOND])
    by_image = [Clock(), Clock(SECOND), Clock()]
    drawn = [
        one
        for spans_, clock in zip(images, by_image, strict=True)
        for one in seen([spans_], {"host": Clock(), "transformer": clock, "predictor": clock})
    ]
    measurement = measure(drawn)
    all_series, bounds = correct_skew(measurement)
    assert all_series[0].segments[TO_TRANSFORMER].values == measurement.all_series()[0].segments[TO_TRANSFORMER].values
    unknown = {TO_TRANSFORMER, segment("transformer response"), "2-1", "4-3"}
    assert {one for (_, _, one), bound in bounds.items() if bound == math.inf} == unknown
    assert {one for _, _, one in bounds} - unknown == {segment("predictor request"), segment("predictor response")}
    assert rows.seed_tables(all_series)[0].notes[-1] == table_notes.CLOCKS
    assert clock_lines(offsets(measurement))[0].startswith("clocks: no constant drift fits host and transformer")


def test_records_say_how_far_a_stamp_may_be_off():
    images = run(ON_HOSTS["http"], [0, 5 * SECOND])
    by_host = {"host": Clock(), "transformer": Clock(5 * SECOND), "predictor": Clock()}
    all_series, _ = correct_skew(measure(seen(images, by_host)))
    (record,) = segment_records.seed_records(all_series)
    assert (float(record["clock_bound_2-1"]), float(record["clock_bound_4-3"]), record["clock_bound_4-1"]) == (
        pytest.approx(0.025, abs=0.0075),  # of two images' bounds, at the middle of the one's time on that host
        pytest.approx(0.025, abs=0.0075),
        None,
    )
    assert [record[f"clocks_{name}"] for name in ("2-1", "4-3", "4-1")] == ["bounded", "bounded", "exact"]


def clocked(drawing, by_host, count=3):
    """Some images of a drawing whose hosts have these clocks, corrected."""
    images = run(drawing, [number * 5 * SECOND for number in range(count)])
    found = measure(seen(images, by_host))
    return correct_skew(found)[0], found


AHEAD = with_options(with_options(KAFKA, "process images", "@bridge"), "POST /v1/models", "@bridge")


def test_two_stamps_on_one_host_have_no_bound_whatever_the_other_hosts_do():
    (series,), _ = clocked(AHEAD, {"host": Clock(), "bridge": Clock(5 * SECOND, 10**5)})
    assert {name: set(bounds) for name, bounds in series.stamp_bounds.items()} == {
        "2-1": {math.inf},  # a record travels one way: nothing bounds the sender's clock
        "4-1": {math.inf},
    }


def test_a_stamp_s_host_is_that_of_its_span_even_where_another_host_s_moment_is_equal():
    # The server's clock is 200 ms behind, so that it had the body when, by the sender's clock, it was sent.
    drawing = with_options(HTTP, "POST /v1/models", "@server")
    (series,), _ = clocked(drawing, {"host": Clock(), "server": Clock(-70 * MS)})
    assert set(series.stamp_bounds) == {"2-1", "4-3"}


def both_ways(drawing):
    """Images through Kafka, and over HTTP by which the two hosts know each other; 1 ms to and fro."""
    http = with_options(HTTP, "POST /v1/models", "@bridge").replace("CLIENT    130  990", "CLIENT    149  961")
    kafka = run(drawing, [number * 4 * SECOND for number in range(4)])
    known = run(http, [number * 4 * SECOND + 2 * SECOND for number in range(4)])
    return kafka + [[replace(one, trace_id=f"h{one.trace_id[1:]}") for one in of] for of in known]


def test_an_acknowledgement_that_comes_after_the_consumer_has_the_record_ends_deliver_there():
    late = with_options(KAFKA.replace("PRODUCER  130  290", "PRODUCER  130  390"), "process images", "@bridge")
    late = late.replace("0  300  transport", "0  400  transport")
    found = measure(seen(both_ways(late), {"host": Clock(), "bridge": Clock(-3 * SECOND)}))
    (series,) = [one for one in correct_skew(found)[0] if one.labels.transport == "kafka"]
    deliver, broker = series.segments[segment("deliver")], series.segments[segment("broker")]
    assert list(broker.values) == [0] * 4
    for length, bound in zip(deliver.values, deliver.bounds, strict=True):
        assert 0 < bound < 5 * MS
        assert abs(length - 200 * MS) <= bound


def test_a_proxy_s_answer_that_ends_after_its_asker_s_takes_no_negative_time():
    lines = with_options(HTTP, "POST /v1/models", "@server").splitlines()
    lines[3:4] = [lines[3], "    ingress                     SERVER    140  991  @edge"]
    drawing = "\n".join([*lines[:5], *("  " + line for line in lines[5:])])
    (series,), _ = clocked(drawing, {"host": Clock(), "server": Clock(SECOND), "edge": Clock(-2 * SECOND)})
    back = series.segments[segment("proxy response")]
    assert min(back.values) >= 0
    assert all(abs(length) <= bound for length, bound in zip(back.values, back.bounds, strict=True))


@pytest.mark.parametrize(("gateway", "sidecar"), [("edge", "server"), ("edge", "host"), ("edge", "edge")])
def test_nor_does_a_sidecar_s_that_ends_after_its_gateway_has_the_answer(gateway, sidecar):
    lines = with_options(HTTP, "POST /v1/models", "@server service=server").splitlines()
    lines[4:] = [
        f"    ingress                     SERVER    135  989  @{gateway}",
        "      router egress             CLIENT    136  973",
        f"        server.default:80/*     SERVER    140  985  @{sidecar} service=server.default",
        *("      " + line for line in lines[4:]),
    ]
    (series,), _ = clocked("\n".join(lines), {"host": Clock(), "server": Clock(SECOND), "edge": Clock(-2 * SECOND)})
    back = series.segments[segment("proxy response")]
    assert min(back.values) >= 0
    assert all(abs(length) <= bound for length, bound in zip(back.values, back.bounds or [0] * len(back), strict=True))


def compared_within(nanoseconds, at_the_end=0):
    """An image that goes one way, an hour after two between whose requests lay so little, and its bounds."""
    hour, answered = 3600 * SECOND, 990 * MS
    back = with_options(with_options(EVENT_SOURCE, "send image", "@transformer"), "POST /", "@host")
    drawn = [*run(ON_HOSTS["http"], [0, answered - 130 * MS + 1 + nanoseconds]), image(back, "later", hour)]
    moved = [replace(one, start=one.start + at_the_end, end=one.end + at_the_end) for spans_ in drawn for one in spans_]
    all_series, bounds = correct_skew(measure(moved))
    (later,) = [series for series in all_series if "later" in series.trace_ids]
    return later, bounds[later.labels, later.size, TOTAL]


def test_clocks_that_were_compared_within_a_nanosecond_are_2_percent_of_an_hour_apart_an_hour_later_at_most():
    later, bound = compared_within(1)
    (total,) = later.totals()
    # That fits clocks of any rate; none that runs is off by more than 72 s after an hour.
    assert total - bound <= 500 * MS <= total + bound
    assert bound <= 36.1 * SECOND


def test_a_corrected_stamp_that_does_not_fit_64_bits_is_the_last_that_does():
    later, _ = compared_within(100, at_the_end=END - EPOCH - 3600 * SECOND - 500 * MS)
    assert [*later.stamps[3]] == [END]
