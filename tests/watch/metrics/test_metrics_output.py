"""The metrics of a running watch: fetched by Prometheus, sent by OTLP, and who may fetch them."""

import base64
from functools import partial

import httpx
import pytest
from collector_support import collecting
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from traces_builder import HTTP, KAFKA
from watching_support import get, send, watching

from otel_kfs.watch.metrics.metrics_output import MetricsOutput
from otel_kfs.watch.metrics.otlp_metrics import SERVICE
from otel_kfs.watch.receiver.receiver_security import ReceiverSecurity


@pytest.fixture
def metrics():
    output = MetricsOutput(0, None)
    yield output
    output.close()


def sent_totals(request):
    """The images that a request's `otel_kfs.total.duration` has, and the service it says it is."""
    (of_resource,) = ExportMetricsServiceRequest.FromString(request.body).resource_metrics
    service = next(one.value.string_value for one in of_resource.resource.attributes if one.key == "service.name")
    metrics = {metric.name: metric for metric in of_resource.scope_metrics[0].metrics}
    return service, sum(point.count for point in metrics["otel_kfs.total.duration"].histogram.data_points)


def test_prometheus_gets_what_was_measured_and_what_came(metrics):
    with watching(metrics.sites, metrics.observers) as service:
        metrics.follow(service)
        send(service, HTTP, KAFKA, images=2)
        text = get(service, "/metrics").text
    assert 'otel_kfs_image_measured_total{otel_kfs_transport="http"} 2.0' in text
    assert 'otel_kfs_image_measured_total{otel_kfs_transport="kafka"} 2.0' in text
    assert f"otel_kfs_span_received_total {float(service.latest().counts.spans)}" in text


def test_the_same_goes_out_by_otlp_at_the_latest_at_the_end():
    with collecting() as collector:
        metrics = MetricsOutput(None, collector.url)
        with watching(metrics.sites, metrics.observers) as service:
            metrics.follow(service)
            send(service, HTTP, images=3)
        metrics.close()
        assert {request.path for request in collector.requests} == {"/v1/metrics"}
        assert sent_totals(collector.requests[-1]) == (SERVICE, 3)


def test_without_metrics_no_image_costs_anything():
    metrics = MetricsOutput(None, None)
    assert (metrics.observers, metrics.sites) == ([], [])


def test_a_name_of_somebody_else_s_that_leads_here_reads_nothing(metrics):
    with watching(metrics.sites, metrics.observers) as service:
        assert get(service, "/metrics", headers={"host": "evil.example"}).status_code == 400
        assert get(service, "/metrics", headers={"host": "localhost:1"}).status_code == 200


def test_where_there_is_a_token_it_is_needed(metrics):
    with watching(metrics.sites, metrics.observers, ReceiverSecurity(token="s3cret")) as service:
        fetch = partial(get, service, "/metrics")
        refused = fetch()
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Basic realm="otel-kfs watch"')
        assert fetch(headers={"authorization": "Bearer s3cret"}).status_code == 200
        assert fetch(auth=httpx.BasicAuth("anybody", "s3cret")).status_code == 200
        wrong = [httpx.BasicAuth("s3cret", "wrong")]
        for one in wrong:
            assert fetch(auth=one).status_code == 401
        for header in ("Basic", "Basic !!!", "Basic " + base64.b64encode(b"\xff").decode(), "Bearer", ""):
            assert fetch(headers={"authorization": header}).status_code == 401
