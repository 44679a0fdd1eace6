"""The metrics of images as two kinds of readers get them: the same sums, bounded, escaped, by their conventions."""

import asyncio
import math
from dataclasses import replace

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from opentelemetry.sdk.metrics.export import (
    ExponentialHistogramDataPoint,
    InMemoryMetricReader,
)
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.applications import Starlette
from traces_builder import HTTP, KAFKA, STRAIGHT, critical_path, critical_path_of, sections, spans

from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.errors import ConfigError
from otel_kfs.traces.span import SpanGraph
from otel_kfs.watch.metrics import definitions
from otel_kfs.watch.metrics.definitions import ALL, LATE, OPEN, SEGMENT, CurrentValue, MetricKind
from otel_kfs.watch.metrics.image_metrics import ImageMetrics, size_class
from otel_kfs.watch.metrics.otlp_metrics import OtlpMetrics, otlp_provider, provider_of
from otel_kfs.watch.metrics.prometheus_metrics import PrometheusMetrics

TRACE = "0af7651916cd43dd8448eb211c80319c"
OPENMETRICS = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}


class Both:
    """Metrics by both ways."""

    def __init__(self, most_series=1000):
        self.reader = InMemoryMetricReader()
        self.prometheus, self.otlp = PrometheusMetrics(), OtlpMetrics(provider_of(self.reader))
        self.images = ImageMetrics([self.prometheus, self.otlp], most_series)

    def text(self):
        async def get():
            app = Starlette(routes=self.prometheus.routes())
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://watch") as client:
                return await client.get("/metrics", headers=OPENMETRICS)

        answer = asyncio.run(get())
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        return answer.text

    def fetched(self):
        """Every sample that Prometheus gets: name and labels -> value."""
        return {
            (sample.name, frozenset((key, value) for key, value in sample.labels.items() if value)): sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
        }

    def sent(self):
        """The same of what goes out by OTLP."""
        found = {}
        data = self.reader.get_metrics_data()
        for of_resource in data.resource_metrics if data else ():
            for metric in of_resource.scope_metrics[0].metrics:
                name = next(one for one in ALL if one.name == metric.name).prometheus_name
                for point in metric.data.data_points:
                    labels = [(key.replace(".", "_"), value) for key, value in point.attributes.items() if value]
                    if hasattr(point, "value"):
                        found[name + "_total" * metric.data.is_monotonic, frozenset(labels)] = point.value
                        continue
                    found[f"{name}_sum", frozenset(labels)] = point.sum
                    found[f"{name}_count", frozenset(labels)] = point.count
                    below = 0
                    for bound, count in zip(
                        [*map(str, point.explicit_bounds), "+Inf"], point.bucket_counts, strict=True
                    ):
                        below += count
                        found[f"{name}_bucket", frozenset([*labels, ("le", bound)])] = below
        return found


def paths_in(*drawings):
    found = []
    for drawing in drawings:
        found += critical_paths(SpanGraph(spans(drawing, TRACE)))[0]
    return found


PARTS = st.lists(
    st.tuples(st.sampled_from(["client", "encode", "predictor predict", "broker"]), st.integers(-10, 400_000)),
    min_size=1, max_size=6,
)  # fmt: skip


@given(st.lists(PARTS, max_size=8), st.integers(1, 4))
@settings(max_examples=30)
def test_both_ways_have_the_same_figures_of_any_images(images, most_series):
    both = Both(most_series)
    for parts in images:
        both.images.measured(critical_path_of(", ".join(f"{name} {length}" for name, length in parts)))
    sent = both.sent()
    fetched = {key: value for key, value in both.fetched().items() if value or key in sent}
    assert fetched == pytest.approx(sent)


def test_an_image_s_segments_add_up_to_its_total():
    both = Both()
    for path in paths_in(HTTP, KAFKA, STRAIGHT):
        both.images.measured(path)
    sums = dict.fromkeys(("otel_kfs_segment_duration_seconds_sum", "otel_kfs_total_duration_seconds_sum"), 0.0)
    for (name, _), value in both.fetched().items():
        if name in sums:
            sums[name] += value
    assert list(sums.values()) == pytest.approx([2.5, 2.5])


def test_what_prometheus_gets_of_an_image():
    both = Both()
    both.images.measured(*paths_in(STRAIGHT))
    of_image = {"otel_kfs_transport": "http", "otel_kfs_size_class": "1-2MB"}
    fetched = both.fetched()
    assert fetched["otel_kfs_image_measured_total", frozenset({("otel_kfs_transport", "http")})] == 1
    assert fetched["otel_kfs_total_duration_seconds_sum", frozenset(of_image.items())] == 0.5
    decode = of_image | {"otel_kfs_segment": "predictor decode"}
    assert fetched["otel_kfs_segment_duration_seconds_sum", frozenset(decode.items())] == pytest.approx(0.03)
    assert fetched["otel_kfs_segment_duration_seconds_bucket", frozenset((decode | {"le": "0.025"}).items())] == 0
    assert fetched["otel_kfs_segment_duration_seconds_bucket", frozenset((decode | {"le": "0.05"}).items())] == 1


def test_a_bucket_s_example_has_the_trace_s_id():
    both = Both()
    both.images.measured(*paths_in(STRAIGHT))
    examples = [
        sample.exemplar.labels
        for family in text_string_to_metric_families(both.text())
        for sample in family.samples
        if sample.exemplar
    ]
    assert {one["trace_id"] for one in examples} == {TRACE}


def test_the_names_in_prometheus():
    both = Both()
    names = {line.split()[2] for line in both.text().splitlines() if line.startswith("# TYPE")}
    assert names == {
        "otel_kfs_image_corrected", "otel_kfs_image_left_out", "otel_kfs_image_measured", "otel_kfs_request_refused",
        "otel_kfs_segment_duration_seconds", "otel_kfs_segment_negative", "otel_kfs_segment_unbounded",
            "otel_kfs_series_overflow",
        "otel_kfs_span_dropped", "otel_kfs_span_duplicate", "otel_kfs_span_late", "otel_kfs_span_not_forwarded",
        "otel_kfs_span_received", "otel_kfs_total_duration_seconds", "otel_kfs_trace_incomplete", "otel_kfs_trace_open",
    }  # fmt: skip


def test_a_name_is_of_the_conventions_shape():
    for metric in ALL:
        assert metric.name.startswith("otel_kfs.")
        assert metric.name == metric.name.lower()
        assert not metric.name.endswith(("total", "s."))
        assert (metric.kind is MetricKind.HISTOGRAM) == (metric.unit == "s")
    assert len({metric.name for metric in ALL}) == len(ALL)


HOSTILE = 'a"b\\c\n# EOF\x00\x1b[31m<script>\u202e{le="0.1"}'


def test_hostile_names_stay_values():
    both = Both()
    both.images.measured(critical_path(0, 1, 2, 3, transport=HOSTILE, encoding=HOSTILE, sections=sections("x 3")))
    both.images.left_out(HOSTILE, 2)
    clean = "".join(character if character.isprintable() else " " for character in HOSTILE)
    fetched = both.fetched()
    assert fetched["otel_kfs_image_left_out_total", frozenset({("otel_kfs_reason", clean)})] == 2
    assert fetched["otel_kfs_image_measured_total", frozenset({("otel_kfs_transport", clean)})] == 1


def test_a_lone_surrogate_is_no_end_of_the_metrics():
    both = Both()
    both.images.left_out("\ud83d", 1)
    assert ("otel_kfs_image_left_out_total", frozenset({("otel_kfs_reason", " ")})) in both.fetched()


def test_beyond_the_bound_everything_is_one_series_and_that_is_counted():
    both = Both(most_series=3)
    for number in range(10):
        both.images.left_out(f"reason {number}", 1)
    fetched = both.fetched()
    assert fetched["otel_kfs_image_left_out_total", frozenset({("otel_kfs_reason", "other")})] == 7
    assert fetched["otel_kfs_series_overflow_total", frozenset()] == 7


def test_what_clocks_make_negative_is_counted_and_not_clamped():
    both = Both()
    both.images.measured(critical_path_of("client 10, encode -3, client 5"))
    fetched = both.fetched()
    assert fetched["otel_kfs_segment_negative_total", frozenset()] == 1
    assert not [key for key in fetched if ("otel_kfs_segment", "encode") in key[1]]


def test_what_nothing_bounds_is_counted_apart_and_is_in_no_histogram():
    both = Both()
    drawn = critical_path_of("client 10, encode 5000, client 5")
    client, encode, after = drawn.sections
    path = replace(drawn, sections=(client, structs.replace(encode, bound=math.inf), after), total_bound=math.inf)
    both.images.measured(path)
    fetched = both.fetched()
    histograms = {name for name, _ in fetched if name.endswith("_seconds_count")}
    assert (fetched["otel_kfs_segment_unbounded_total", frozenset()], histograms) == (
        *(2, {"otel_kfs_segment_duration_seconds_count"}),
    )
    assert not [key for key in fetched if ("otel_kfs_segment", "encode") in key[1]]


def test_an_image_that_late_spans_changed_counts_as_before_and_is_counted():
    both = Both()
    (path,) = paths_in(STRAIGHT)
    both.images.measured(path)
    before = both.fetched()
    both.images.corrected(path, None)
    both.images.left_out("incomplete", -1)
    assert both.fetched() == before | {("otel_kfs_image_corrected_total", frozenset()): 1}


def test_what_is_counted_elsewhere_is_as_it_is_when_asked_for():
    both, counted = Both(), {LATE: 0, OPEN: 0}
    both.prometheus.add(lambda: [CurrentValue(one, value) for one, value in counted.items()])
    both.otlp.add(lambda: [CurrentValue(one, value) for one, value in counted.items()])
    both.fetched()
    counted.update({LATE: 5, OPEN: 2})
    for found in (both.fetched(), both.sent()):
        assert found["otel_kfs_span_late_total", frozenset()] == 5
        assert found["otel_kfs_trace_open", frozenset()] == 2


def test_native_histograms_go_out_by_otlp_where_the_standard_variable_says_so(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram")
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    sent = []
    exporter = OTLPMetricExporter("http://127.0.0.1:1/v1/metrics")
    monkeypatch.setattr(exporter, "export", lambda data, *_, **__: sent.append(data))
    provider = provider_of(PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf")))
    ImageMetrics([OtlpMetrics(provider)]).measured(*paths_in(STRAIGHT))
    provider.force_flush()
    points = [
        point
        for metric in sent[0].resource_metrics[0].scope_metrics[0].metrics
        if metric.name == definitions.SEGMENT_DURATION.name
        for point in metric.data.data_points
    ]
    assert {type(point) for point in points} == {ExponentialHistogramDataPoint}
    assert {point.attributes[SEGMENT] for point in points} > {"encode", "predictor decode"}


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://host", "http://", "http://host:port"])
def test_what_is_no_url_is_an_error_that_shows_one(url):
    with pytest.raises(ConfigError, match=r"give a URL such as http://localhost:4318 or grpc://localhost:4317"):
        otlp_provider(url)


@pytest.mark.parametrize(
    ("sizes", "label"),
    [
        ((0, None), "0-1B"), ((1, None), "0-1B"), ((1000, None), "500-1000B"), ((1001, None), "1-2kB"),
        ((1_100_000, None), "1-2MB"), ((3_300_000, None), "2-4MB"), ((4_700_000, 1), "4-8MB"),
        ((10_200_000, None), "8-16MB"), ((None, 1_500_000), "1-2MB JSON"), ((None, None), "unknown"),
        ((5 * 10**12, None), "1000GB+"),
    ],
)  # fmt: skip
def test_a_size_has_a_class_that_stays(sizes, label):
    assert size_class(*sizes) == label
