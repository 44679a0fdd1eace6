"""OpenTelemetry's settings in the environment: what can't be used is one line, and what can goes where it says."""

import os
import subprocess
import threading
from pathlib import Path

import pytest
from collector_support import collecting, collecting_by_grpc
from support import PHOTO, SOON_GIVEN_UP, run_python

WORK = """
import otel_kfs
from opentelemetry import trace
otel_kfs.configure("a-service")
trace.get_tracer("a test").start_span("work").end()
"""

# What is set, and what the one line begins with.
MISTAKES = {
    "OTEL_BSP_MAX_QUEUE_SIZE=100": "OTEL_BSP_MAX_QUEUE_SIZE (100) is below OTEL_BSP_MAX_EXPORT_BATCH_SIZE (512)",
    "OTEL_BSP_MAX_QUEUE_SIZE=abc": "OTEL_BSP_MAX_QUEUE_SIZE='abc' is not a whole number above 0",
    "OTEL_BSP_SCHEDULE_DELAY=1.5": "OTEL_BSP_SCHEDULE_DELAY='1.5' is not a whole number above 0",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=-1": "OTEL_BSP_MAX_EXPORT_BATCH_SIZE='-1' is not a whole number above 0",
    "OTEL_PROPAGATORS=jaeger": "OTEL_PROPAGATORS: 'jaeger' is not installed; there are ",
    "OTEL_PROPAGATORS=tracecontext,nonsense": "OTEL_PROPAGATORS: 'nonsense' is not installed; there are ",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=abc": "OpenTelemetry can't be set up as OTEL_* say: OTEL_SPAN_ATTRIBUTE_COUNT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=-1": "OpenTelemetry can't be set up as OTEL_* say: OTEL_ATTRIBUTE_VALUE_LENGTH",
    "OTEL_PYTHON_TRACER_PROVIDER=nonsense": "OTEL_PYTHON_TRACER_PROVIDER: 'nonsense' is not installed; there are ",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=nonsense": "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS: 'nonsense' is not ins",
    "OTEL_PYTHON_EXCLUDED_URLS=(": "OpenTelemetry can't be set up as OTEL_* say: missing )",
    "OTEL_TRACES_EXPORTER=zipkan": "OTEL_TRACES_EXPORTER='zipkan' is not known here; use otlp, console or none",
    "OTEL_EXPORTER_OTLP_PROTOCOL=http/json": "OTEL_EXPORTER_OTLP_PROTOCOL='http/json' is not known here; use grpc or",
    "OTEL_EXPORTER_OTLP_TIMEOUT=abc": "OTEL_EXPORTER_OTLP_TIMEOUT='abc' is not a number of seconds above 0",
    "OTEL_EXPORTER_OTLP_COMPRESSION=zstd": "OTEL_EXPORTER_OTLP_COMPRESSION='zstd' is not known here; use gzip, none",
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://h:abc": "OTEL_EXPORTER_OTLP_ENDPOINT can't be used: Port could not be cast",
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://[::1": "OTEL_EXPORTER_OTLP_ENDPOINT can't be used: Invalid IPv6 URL",
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://": "OTEL_EXPORTER_OTLP_ENDPOINT names no host",
    "OTEL_EXPORTER_OTLP_ENDPOINT=host:4318": "OTEL_EXPORTER_OTLP_ENDPOINT is no URL; write http://host:port",
    "OTEL_EXPORTER_OTLP_ENDPOINT=https://h:4317 OTEL_EXPORTER_OTLP_CERTIFICATE=/not/there": (
        "OTEL_EXPORTER_OTLP_CERTIFICATE: can't read /not/there"
    ),
}


@pytest.mark.parametrize("setting", MISTAKES)
def test_a_setting_that_can_t_be_used_is_one_line_of_a_command(setting):
    settings = dict(pair.split("=", 1) for pair in setting.split())
    if "OTLP" not in setting and "EXPORTER=" not in setting:
        settings["OTEL_KFS_TRACES_FILE"] = "spans.jsonl"
    send = ["send", "--transport", "http", "--url", "http://127.0.0.1:9", "--model", "m", "--image", str(PHOTO)]
    ended = run_command(*send, **settings)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (1, "", 1)
    assert ended.stderr.startswith(f"Error: {MISTAKES[setting]}")


@pytest.mark.parametrize(
    "setting",
    ["OTEL_PROPAGATORS=nonsense", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT=abc", "OTEL_PYTHON_TRACER_PROVIDER=nonsense"],
)
def test_commands_that_make_no_spans_do_not_mind(setting):
    traces = Path(__file__).parents[1] / "data" / "traces"
    command = ["tables", "--trace-query", str(traces)]
    assert run_command(*command, **dict([setting.split("=")])) == run_command(*command)


def run_command(*arguments, **env):
    script = f"from otel_kfs.cli import main; main({list(arguments)!r})"
    ended = run_python(script, **env)
    ended.args = None
    return Ended(ended)


class Ended:
    """What a command left behind, to be compared."""

    def __init__(self, ended: subprocess.CompletedProcess[str]) -> None:
        self.returncode, self.stdout, self.stderr = ended.returncode, ended.stdout, ended.stderr

    def __eq__(self, other):
        return vars(self) == vars(other)

    __hash__ = None


def test_a_program_that_never_asked_for_telemetry_goes_on_without_it():
    script = """
import otel_kfs.telemetry.provider as provider
with provider.tracer().start_as_current_span("work"):
    print("worked")
"""
    done = run_python(script, OTEL_PYTHON_TRACER_PROVIDER="nonsense")
    assert (done.stdout, done.stderr.count("telemetry failed (a tracer)")) == ("worked\n", 1)


@pytest.mark.parametrize("names", ["none", "b3", "tracecontext, baggage", ""])
def test_propagators_that_are_there_are_taken(names):
    ended = run_python(WORK, OTEL_PROPAGATORS=names, OTEL_TRACES_EXPORTER="none")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("compression", ["none", "gzip", ""])
def test_the_standard_s_words_for_compression_are_taken_over_grpc(compression):
    settings = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TIMEOUT": ""}
    with collecting_by_grpc() as collector:
        ended = run_python(WORK, **collector.settings, **settings, OTEL_EXPORTER_OTLP_COMPRESSION=compression)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [span.name for span in collector.spans()] == ["work"]


TWO = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_KFS_TRACES_FILE": "fifo", "OTEL_BSP_SCHEDULE_DELAY": "600000"}


def test_two_exporters_end_at_the_same_time(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    read = []
    # The first exporter can't end before the second one has begun to.
    reader = threading.Thread(target=lambda: read.append((tmp_path / "fifo").read_text()))
    with collecting() as collector:
        collector.answer = lambda *_: reader.start() or (200, b"")
        ended = run_python(WORK, **collector.settings, **TWO)
        reader.join(60)
    assert ended.stderr == ""
    assert ['"work"' in text for text in read] == [True]
    assert [span.name for span in collector.spans()] == ["work"]


def test_each_of_two_exporters_says_what_it_lost(tmp_path):
    os.mkfifo(tmp_path / "fifo")  # that nobody reads
    with collecting() as collector:
        collector.hangs()
        ended = run_python(SOON_GIVEN_UP + WORK, **collector.settings, **TWO, OTEL_EXPORTER_OTLP_TIMEOUT="60")
    late = "they had not left when the process ended"
    assert ended.stderr.splitlines() == [
        f"1 of 1 spans were not exported to fifo: {late}",
        f"1 of 1 spans were not exported to {collector.url}/v1/traces: {late}",
    ]
