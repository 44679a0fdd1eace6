"""The command's page and metrics, as its options ask for them, and what it says of them."""

import re
import signal
import sys

import httpx
from collector_support import collecting
from support import LIMIT, start, wait_until
from traces_builder import STRAIGHT, spans
from watch_support import as_protobuf, post

WATCH = [sys.executable, "-m", "otel_kfs.cli", "watch", "--grpc-port", "0", "--http-port", "0"]


def test_the_page_and_the_metrics_are_where_the_first_line_says():
    with collecting() as collector:
        options = ["--page", "0", "--metrics-port", "0", "--otlp-metrics", collector.url]
        with start([*WATCH, *options]) as process:
            said = process.stderr.readline()
            port = re.search(r"over HTTP on port (\d+)", said)[1]
            page = re.search(r"the page on (http://127\.0\.0\.1:\d+/)", said)[1]
            metrics = re.search(r"metrics on (http://127\.0\.0\.1:\d+/metrics)", said)[1]
            assert post(f"http://127.0.0.1:{port}", as_protobuf(spans(STRAIGHT, "a"))).status_code == 200
            wait_until("the page has the image", lambda: "takes 500.0 ms over HTTP" in httpx.get(page).text)
            assert 'otel_kfs_image_measured_total{otel_kfs_transport="http"} 1.0' in httpx.get(metrics).text
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=LIMIT)
        assert process.returncode == 130
        assert output.startswith("An image of 1.1MB takes 500.0 ms over HTTP")
        assert {request.path for request in collector.requests} == {"/v1/metrics"}


def test_a_target_of_metrics_that_is_not_there_delays_the_end_by_seconds_only():
    with start([*WATCH, "--otlp-metrics", "http://127.0.0.1:9"]) as process:
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LIMIT)
    assert process.returncode == 130


def test_a_url_that_is_none_is_an_error_of_one_line():
    with start([*WATCH, "--otlp-metrics", "localhost:4318"]) as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, output) == (1, "")
    assert errors == (
        "Error: --otlp-metrics localhost:4318: give a URL such as http://localhost:4318 or grpc://localhost:4317\n"
    )
