"""The metrics of calls: with the conventions' bounds, and those of a stream's pieces off the stream's way."""

import subprocess
import sys
import threading

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from support import LIMIT

from otel_kfs.telemetry.gen_ai import gen_ai_metrics
from otel_kfs.telemetry.gen_ai.gen_ai_metrics import GenAICall, GenAIMetrics

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
ATTRIBUTES = {"gen_ai.operation.name": "chat"}
PIECES = [2 * SECOND, 2 * SECOND + 30 * MILLISECOND, 2 * SECOND + 80 * MILLISECOND]
STREAMED = GenAICall(ATTRIBUTES, Context(), SECOND, 3 * SECOND, None, 3, 5, PIECES)

CLIENT_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
BOUNDS = {
    "gen_ai.client.operation.duration": CLIENT_S,
    "gen_ai.client.operation.time_to_first_chunk": CLIENT_S,
    "gen_ai.client.operation.time_per_output_chunk": CLIENT_S,
    "gen_ai.client.token.usage": tuple(4**power for power in range(14)),
    "gen_ai.server.request.duration": CLIENT_S,
    "gen_ai.server.time_to_first_token": (
        *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    ),
    "gen_ai.server.time_per_output_token": (
        *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    ),
}


@pytest.fixture
def reader():
    return InMemoryMetricReader()


def points(reader):
    """Every point that was collected, with its metric's name."""
    gen_ai_metrics.flush()
    found = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    return [(metric.name, point) for metric in found for point in metric.data.data_points]


def test_each_metric_has_the_bounds_that_the_conventions_ask_for(reader):
    GenAIMetrics(MeterProvider([reader]), of_server=True).record(STREAMED)
    assert {name: point.explicit_bounds for name, point in points(reader)} == BOUNDS


def test_a_stream_is_recorded_by_its_pieces(reader):
    GenAIMetrics(MeterProvider([reader]), of_server=True).record(STREAMED)
    sums = {name: (point.count, pytest.approx(point.sum)) for name, point in points(reader)}
    del sums["gen_ai.client.token.usage"]
    assert sums == {
        "gen_ai.client.operation.duration": (1, 2.0),
        "gen_ai.client.operation.time_to_first_chunk": (1, 1.0),
        "gen_ai.client.operation.time_per_output_chunk": (2, 0.08),
        "gen_ai.server.request.duration": (1, 2.0),
        "gen_ai.server.time_to_first_token": (1, 1.0),
        "gen_ai.server.time_per_output_token": (1, 0.02),
    }


def test_a_clock_that_is_set_back_makes_no_negative_time(reader, caplog):
    pieces = [3 * SECOND, 1 * SECOND, 2 * SECOND]
    GenAIMetrics(MeterProvider([reader]), of_server=True).record(
        GenAICall(ATTRIBUTES, Context(), 4 * SECOND, 2 * SECOND, None, 3, 5, pieces)
    )
    sums = {name: (point.count, point.sum) for name, point in points(reader) if name.endswith(("chunk", "duration"))}
    assert (sums, caplog.records) == (
        {
            "gen_ai.client.operation.duration": (1, 0.0),
            "gen_ai.client.operation.time_to_first_chunk": (1, 0.0),
            "gen_ai.client.operation.time_per_output_chunk": (2, 1.0),
            "gen_ai.server.request.duration": (1, 0.0),
        },
        [],
    )


def test_a_client_has_the_client_s_metrics_alone(reader):
    GenAIMetrics(MeterProvider([reader])).record(STREAMED)
    assert {name for name, _ in points(reader)} == {name for name in BOUNDS if "client" in name}


def test_a_stream_is_recorded_by_a_thread_of_its_own_and_a_whole_answer_by_the_caller_s(reader, monkeypatch):
    metrics = GenAIMetrics(MeterProvider([reader]))
    threads = []
    monkeypatch.setattr(metrics, "record_now", lambda call: threads.append((len(call.pieces), threading.get_ident())))
    metrics.record(STREAMED)
    gen_ai_metrics.flush()
    metrics.record(GenAICall(ATTRIBUTES, Context(), 1, 2))
    here = threading.get_ident()
    assert [(pieces, thread == here) for pieces, thread in threads] == [(3, False), (0, True)]


def test_of_too_many_that_wait_the_next_is_recorded_at_once(reader, monkeypatch):
    monkeypatch.setattr(gen_ai_metrics, "_WAITING_CALLS", 2)
    recorder = gen_ai_metrics._Recorder()
    goes_on, here, by = threading.Event(), threading.get_ident(), []

    class Slow(GenAIMetrics):
        def record_now(self, call):
            if threading.get_ident() != here:
                goes_on.wait(60)
            by.append(threading.get_ident() == here)
            super().record_now(call)

    metrics = Slow(MeterProvider([reader]))
    for _ in range(3):
        recorder.submit(metrics, STREAMED)
    goes_on.set()
    recorder.flush()
    assert by == [True, False, False]
    counts = {point.count for name, point in points(reader) if name == "gen_ai.client.operation.duration"}
    assert counts == {3}


def test_a_failure_is_logged_and_the_next_call_is_recorded(reader):
    metrics = GenAIMetrics(MeterProvider([reader]))
    metrics.record(GenAICall(ATTRIBUTES, Context(), 1, 2, pieces=["no time"]))
    metrics.record(STREAMED)
    counts = {point.count for name, point in points(reader) if name == "gen_ai.client.operation.time_per_output_chunk"}
    assert counts == {2}


def test_what_was_streamed_last_is_recorded_before_the_process_ends():
    program = """
import atexit
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from otel_kfs.telemetry.gen_ai.gen_ai_metrics import GenAICall, GenAIMetrics
metrics = GenAIMetrics(MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())]))
call = GenAICall({}, Context(), 0, 3, pieces=range(2_000))
metrics.record(call)
atexit.register(metrics.record, call)  # by when no thread may begin any more
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert printed.stdout.count('"count": 3998,') == 1
    assert printed.stderr == ""


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_records_for_itself():
    program = """
import os
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otel_kfs.telemetry.gen_ai import gen_ai_metrics
from otel_kfs.telemetry.gen_ai.gen_ai_metrics import GenAICall, GenAIMetrics
reader = InMemoryMetricReader()
metrics = GenAIMetrics(MeterProvider([reader]))
metrics.record(GenAICall({}, Context(), 0, 3, pieces=[1, 2, 3]))
gen_ai_metrics.flush()
if os.fork() == 0:
    metrics.record(GenAICall({}, Context(), 0, 3, pieces=[1, 2, 3]))
    gen_ai_metrics.flush()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert (printed.stdout, printed.stderr) == ("0\n", "")
