"""A real Prometheus that fetches the metrics of two watches: the dashboard's queries, which add them up."""

import time
from functools import partial

import pytest
import requests
from balanced_watches import exported, exports, measured, send, watching
from deploy_tools import queries_of_watches
from service_prometheus import prometheus
from support import LIMIT, wait_until
from traces_builder import HTTP, STRAIGHT, spans

pytestmark = [pytest.mark.services, pytest.mark.sketch]

IMAGES = 20
FETCHED_TWICE = "sum(min_over_time(otel_kfs_span_received_total[2s]))"
FETCHED = "min(count_over_time(otel_kfs_span_received_total[1m]))"
QUERIES = queries_of_watches()


def asked(running, query, at=None, **more):
    """What a Prometheus answers to a query in PromQL, at a time or now, or to one for exemplars, if it has times."""
    path, more = ("query_exemplars", more) if more else ("query", {} if at is None else {"time": at})
    answer = requests.get(f"{running.url}/api/v1/{path}", params={"query": query, **more}, timeout=LIMIT).json()
    assert answer["status"] == "success", answer
    return answer["data"] if path == "query_exemplars" else answer["data"]["result"]


@pytest.fixture(scope="module")
def ask():
    """Ask a Prometheus, in PromQL, about two watches: images of one take 1 s, those of the other 0.5 s."""
    with (
        watching(2) as watches,
        prometheus([watch.metrics.split("/")[2] for watch in watches], interval="200ms") as running,
    ):
        ask_, at = partial(asked, running), [0.0]
        sent = [0, 0]
        for count in (1, IMAGES):  # a rate is that of what comes after the first
            for number, (watch, drawing) in enumerate(zip(watches, (HTTP, STRAIGHT), strict=True)):
                drawn = [
                    span for image in range(count) for span in exported(spans(drawing, f"{number}-{count}-{image}-"))
                ]
                send(exports(drawn), watch.grpc, watch.http)
                sent[number] += len(drawn)
                measured([watch], sent[number])
            wait_until("it has fetched all twice", lambda: values(ask_(FETCHED_TWICE)) == {"": sum(sent)})

        # A rate counts what may have come half an interval before and after, too, for each watch on its own: of many
        # intervals that is little.
        def has_fetched_often():
            at[0] = time.time() - 1  # no fetch takes longer, so that of then nothing changes any more
            ups = [one["value"][1] for one in ask_("up", at[0])]
            return ups == ["1", "1"] and values(ask_(FETCHED, at[0])).get("", 0) >= 2 * IMAGES

        # A busy machine may be too slow for one of the next fetches: all is asked about the time after a good one.
        wait_until("it has fetched often", has_fetched_often)
        yield lambda query, **more: ask_(query, at[0], **more)


def values(result):
    """The values of an answer by their labels."""
    return {
        " ".join(value for key, value in sorted(one["metric"].items()) if key != "instance"): float(one["value"][1])
        for one in result
    }


def test_both_watches_metrics_are_taken_whole(ask):
    assert [one["value"][1] for one in ask("up")] == ["1", "1"]


def test_counts_add_up(ask):
    assert values(ask("sum by (otel_kfs_transport) (otel_kfs_image_measured_total)")) == {"http": 2 + 2 * IMAGES}


def test_a_percentile_is_that_of_both_watches_images(ask):
    buckets = "sum by (le, otel_kfs_transport) (otel_kfs_total_duration_seconds_bucket)"
    # Half of all are at 0.5 s, in the bucket up to it, the others in the one from there to 1 s.
    assert values(ask(f"histogram_quantile(0.5, {buckets})")) == {"http": pytest.approx(0.5)}
    assert values(ask(f"histogram_quantile(0.95, {buckets})")) == {"http": pytest.approx(0.5 + 0.9 * 0.5)}


@pytest.mark.parametrize("title", QUERIES)
def test_prometheus_answers_every_query_of_the_dashboard(ask, title):
    for query in QUERIES[title]:
        ask(query)


def test_the_dashboard_s_figures_are_those_of_both_watches(ask):
    near = {"rel": 0.1}  # a rate is an estimate
    (p50, p95) = QUERIES["From start to answer (4-1), p50 and p95"]
    assert values(ask(p50)) == {"1-2MB http": pytest.approx(0.5, **near)}
    assert values(ask(p95)) == {"1-2MB http": pytest.approx(0.95, **near)}
    (mean,) = QUERIES["The same by size class: mean of 4-1 over the whole range"]
    assert values(ask(mean)) == {"1-2MB http": pytest.approx(0.75, **near)}
    (stacked,) = QUERIES["Where the time goes: the mean image"]
    of_segments = values(ask(stacked))
    assert sum(of_segments.values()) == pytest.approx(0.75, **near)
    # 260 ms of one, 130 ms of the other.
    assert of_segments["predictor predict"] == pytest.approx(0.195, **near)


def test_an_exemplar_leads_to_an_image_s_trace(ask):
    found = ask("otel_kfs_total_duration_seconds_bucket", start="0", end="9999999999")
    traces = {exemplar["labels"]["trace_id"] for one in found for exemplar in one["exemplars"]}
    assert traces
    assert all(len(trace) == 32 for trace in traces)


def test_what_two_watches_send_by_otlp_adds_up_too_and_is_native_histograms():
    exponential = {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"}
    with prometheus() as running:
        with watching(2, "--otlp-metrics", running.otlp_metrics, **exponential) as watches:
            for number, (watch, drawing) in enumerate(zip(watches, (HTTP, STRAIGHT), strict=True)):
                drawn = [span for image in range(3) for span in exported(spans(drawing, f"{number}-{image}-"))]
                send(exports(drawn), watch.grpc, watch.http)
                measured([watch], len(drawn))
                watch.process.terminate()  # then it sends the last
                watch.process.communicate(timeout=LIMIT)
        ask = partial(asked, running)
        assert values(ask("sum(otel_kfs_image_measured_total)")) == {"": 6}
        total = "otel_kfs_total_duration_seconds"
        assert values(ask(f"histogram_count(sum({total}))")) == {"": 6}
        assert values(ask(f"histogram_avg(sum({total}))")) == {"": pytest.approx(0.75)}
        assert values(ask(f"histogram_quantile(0.25, sum({total}))")) == {"": pytest.approx(0.5, rel=0.05)}
        assert values(ask(f"histogram_quantile(1, sum({total}))")) == {"": pytest.approx(1, rel=0.05)}
