"""Setting a process up to trace: where its spans go, that none is lost at its end, and what is left alone."""

import signal
import threading

import pytest
from collector_support import collecting
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from support import LIMIT, HttpServer, read_traces, run_python, start_python

import otel_kfs
from otel_kfs import configure, flush
from otel_kfs.errors import ConfigError
from otel_kfs.telemetry import provider

WORK = """
import otel_kfs
from opentelemetry import trace
otel_kfs.configure("a-service")
with trace.get_tracer("a test").start_as_current_span("work"):
    pass
"""
# Not signal.pause(): a signal just before it would be waited for, for ever.
WAIT = "import time; print('ready', flush=True)\nwhile True: time.sleep(0.05)"


def written(tmp_path):
    return [(span.service, span.name) for span in read_traces(tmp_path / "traces" / "spans.jsonl")]


def end_by(number: signal.Signals, script: str) -> int:
    """Start a script that prints `ready`, send it the signal; its exit code."""
    with start_python(script, OTEL_KFS_TRACES_FILE="traces/spans.jsonl") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=LIMIT)
    return process.returncode


def test_spans_are_in_the_file_after_a_normal_exit(tmp_path):
    assert run_python(WORK, OTEL_KFS_TRACES_FILE="traces/spans.jsonl").returncode == 0
    assert written(tmp_path) == [("a-service", "work")]


def test_spans_are_in_the_file_after_an_uncaught_exception(tmp_path):
    assert run_python(WORK + "raise SystemExit(3)", OTEL_KFS_TRACES_FILE="traces/spans.jsonl").returncode == 3
    assert written(tmp_path) == [("a-service", "work")]


def test_spans_are_in_the_file_after_sigterm_and_the_exit_code_is_the_signal_s(tmp_path):
    assert end_by(signal.SIGTERM, WORK + WAIT) == -signal.SIGTERM
    assert written(tmp_path) == [("a-service", "work")]


def test_spans_are_in_the_file_after_ctrl_c(tmp_path):
    assert end_by(signal.SIGINT, WORK + WAIT) == -signal.SIGINT
    assert written(tmp_path) == [("a-service", "work")]


def test_a_program_s_own_handler_of_sigterm_stays(tmp_path):
    own = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    assert end_by(signal.SIGTERM, own + WORK + WAIT) == 7
    assert written(tmp_path) == [("a-service", "work")]


def test_a_file_that_is_there_is_appended_to(tmp_path):
    for _ in range(2):
        run_python(WORK, OTEL_KFS_TRACES_FILE="traces/spans.jsonl")
    assert written(tmp_path) == [("a-service", "work")] * 2


def test_the_argument_names_the_file_before_the_environment_does(tmp_path):
    script = WORK.replace('"a-service"', '"a-service", traces_file="traces/spans.jsonl"')
    run_python(script, OTEL_KFS_TRACES_FILE="other.jsonl")
    assert written(tmp_path) == [("a-service", "work")]
    assert not (tmp_path / "other.jsonl").exists()


def test_otel_service_name_goes_before_the_argument(tmp_path):
    run_python(WORK, OTEL_KFS_TRACES_FILE="traces/spans.jsonl", OTEL_SERVICE_NAME="the-environment-s")
    assert written(tmp_path) == [("the-environment-s", "work")]


def test_configuring_outside_the_main_thread_works(tmp_path):
    script = "import threading\ndef work():\n" + WORK.replace("\n", "\n    ")
    script += "\nthread = threading.Thread(target=work); thread.start(); thread.join()"
    assert run_python(script, OTEL_KFS_TRACES_FILE="traces/spans.jsonl").stderr == ""
    assert written(tmp_path) == [("a-service", "work")]


def test_the_exporter_none_writes_nothing():
    ended = run_python(WORK, OTEL_TRACES_EXPORTER="none")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_exporter_console_prints_spans():
    ended = run_python(WORK, OTEL_TRACES_EXPORTER="console")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert '"name": "work"' in ended.stdout


def test_an_unknown_exporter_is_answered_in_one_line():
    ended = run_python(WORK, OTEL_TRACES_EXPORTER="zipkan")
    message = "OTEL_TRACES_EXPORTER='zipkan' is not known here; use otlp, console or none"
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == f"otel_kfs.errors.ConfigError: {message}"


def test_otlp_is_posted_as_protobuf_to_v1_traces():
    with collecting() as collector:
        ended = run_python(WORK, **collector.settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    (request,) = collector.requests
    assert (request.path, request.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
    (resource,) = ExportTraceServiceRequest.FromString(request.body).resource_spans
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["work"]
    assert {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"] == "a-service"


def test_a_file_in_a_folder_that_can_t_be_is_answered_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as raised:
        provider._provider("a-service", tmp_path / "file" / "spans.jsonl")
    assert str(raised.value) == (
        f"can't write traces to {tmp_path}/file/spans.jsonl: File exists; choose another --traces-file"
    )


def test_a_folder_in_the_place_of_the_file_is_answered_in_one_line(tmp_path):
    with pytest.raises(ConfigError) as raised:
        provider._provider("a-service", tmp_path)
    assert str(raised.value) == f"can't write traces to {tmp_path}: Is a directory; choose another --traces-file"


def test_a_provider_that_is_already_set_stays(spans, tmp_path):
    before = (trace.get_tracer_provider(), signal.getsignal(signal.SIGTERM))
    configure("another", traces_file=tmp_path / "spans.jsonl")
    assert (trace.get_tracer_provider(), signal.getsignal(signal.SIGTERM)) == before
    assert not (tmp_path / "spans.jsonl").exists()


def test_under_a_provider_that_is_already_set_calls_by_requests_are_traced(spans):
    import requests

    configure("another")
    with HttpServer().running() as server:
        requests.post(server.url, data=b"{}", timeout=10)
    assert [span.name for span in spans.get_finished_spans()] == ["POST"]


def test_flushing_exports_what_is_in_memory(tmp_path):
    # Ended by os._exit, a process has no exit hooks.
    ended = run_python(WORK + "print(otel_kfs.flush(), flush=True); import os; os._exit(0)", **FILE)
    assert ended.stdout == "True\n"
    assert written(tmp_path) == [("a-service", "work")]


FILE = {"OTEL_KFS_TRACES_FILE": "traces/spans.jsonl"}


def test_flushing_without_a_provider_is_harmless():
    assert run_python("import otel_kfs; print(otel_kfs.flush())").stdout == "True\n"


def test_the_tracer_may_be_asked_for_from_any_thread(spans):
    seen = []
    thread = threading.Thread(target=lambda: seen.append(provider.tracer()))
    thread.start()
    thread.join()
    assert seen == [provider.tracer()]
    assert flush()


def test_spans_name_the_package_its_version_and_their_conventions(spans):
    own, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    own.add_span_processor(SimpleSpanProcessor(exporter))
    for tracer in (provider.tracer(), provider.tracer_of(own)):
        tracer.start_span("a span").end()
    found = [span.instrumentation_scope for span in spans.get_finished_spans() + exporter.get_finished_spans()]
    scope = InstrumentationScope("otel_kfs", otel_kfs.__version__, "https://opentelemetry.io/schemas/1.44.0")
    assert found == [scope, scope]


def test_a_full_disk_is_said_and_costs_no_line_but_the_one_cut_off(tmp_path):
    # A limit of the process's own stands for the disk's.
    script = """
import resource, signal, sys, otel_kfs
from opentelemetry import trace
sys.dont_write_bytecode = True  # it would be cut off, too
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
otel_kfs.configure("a-service", traces_file="spans.jsonl")
tracer = trace.get_tracer("a test")

def work(name):
    tracer.start_span(name, attributes={"text": "x" * 1000}).end()
    print(otel_kfs.flush())

work("first")
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, most))
work("cut off")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
work("last")
"""
    ended = run_python(script)
    assert (ended.returncode, ended.stdout) == (0, "True\nFalse\nTrue\n")
    failed = "the exporter failed (see the log of opentelemetry.exporter.otlp.json.file)"
    assert "No space left on device" in ended.stderr.splitlines()[0]  # that log
    assert [line for line in ended.stderr.splitlines() if "not exported" in line] == [
        f"spans are not exported to spans.jsonl: {failed}",
        f"1 of 3 spans were not exported to spans.jsonl: {failed}",
    ]
    lines = (tmp_path / "spans.jsonl").read_text().splitlines()
    assert [("first" in line, "last" in line, line.endswith("}")) for line in lines] == [
        (True, False, True),
        (False, False, False),
        (False, True, True),
    ]
