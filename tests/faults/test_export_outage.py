"""A collector that is down, slow or refuses: what was not exported is counted and said once, and the work goes on."""

import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from collector_support import collecting, otlp_over_http
from support import LIMIT, PHOTO, HttpServer, run_python, start_python, unserved_port, wait_until

from otel_kfs.demo.processes import free_port

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

START = """
import os, sys, time, otel_kfs
from opentelemetry import trace
otel_kfs.configure("a-service")
tracer = trace.get_tracer("a test")

def spans(count):
    for number in range(count):
        tracer.start_span("work").end()
"""


# Nothing but a signal ends its last export within the time that a test has.
PATIENT = (
    """
from otel_kfs.telemetry import sigterm
from otel_kfs.telemetry.export import exporter
exporter.EXIT_SECONDS = sigterm._LIMIT_SECONDS = 3600.0
"""
    + START
)


@pytest.fixture
def collector():
    with collecting() as running:
        yield running


FAILED = "the exporter failed (see the log of opentelemetry.exporter.otlp.proto.http)"


def otlp(url, **more):
    return {**otlp_over_http(url), **more}


def parted(errors):
    """What was said of the spans that were not exported, once, and the exporter's own log, which may go on longer."""
    lines = errors.splitlines()
    (said,) = (line for line in lines if " spans were not exported to " in line)
    return said, [line for line in lines if line != said]


def test_nobody_there_is_said_at_the_end_beside_the_exporter_s_own_log():
    url = f"http://127.0.0.1:{unserved_port()}"
    ended = run_python(PATIENT + "spans(3)", **otlp(url))
    assert (ended.returncode, ended.stdout) == (0, "")
    said, log = parted(ended.stderr)
    assert said == f"3 of 3 spans were not exported to {url}/v1/traces: nobody listens there"
    assert "Connection refused" in log[0]


def test_credentials_in_the_endpoint_are_not_shown():
    port = unserved_port()
    ended = run_python(START + "spans(1)", **otlp(f"http://me:secret@127.0.0.1:{port}"))
    said, _ = parted(ended.stderr)
    assert said == f"1 of 1 spans were not exported to http://127.0.0.1:{port}/v1/traces: nobody listens there"
    assert "secret" not in ended.stderr


@pytest.mark.parametrize(("status", "why"), [(503, "Service Unavailable"), (401, "Unauthorized")])
def test_a_refusal_is_counted_and_the_exporter_s_log_says_why(collector, status, why):
    collector.answers(status)
    ended = run_python(START + "spans(3)", **otlp(collector.url))
    said, log = parted(ended.stderr)
    assert (ended.returncode, said) == (0, f"3 of 3 spans were not exported to {collector.url}/v1/traces: {FAILED}")
    assert why in log[0]


SENDS = """
import otel_kfs
otel_kfs.configure("image-sender")
sender = otel_kfs.HttpSender(%r, model="m")
for number in range(1, 201):
    print(number, sender.send(%r))
"""


@pytest.mark.parametrize("fault", ["refuses", "hangs", "is absent"])
def test_every_image_is_answered_whatever_the_collector_does(collector, fault):
    collector.answers(503)
    if fault == "hangs":
        collector.hangs()
    url = f"http://127.0.0.1:{unserved_port()}" if fault == "is absent" else collector.url
    with HttpServer().running() as model:
        sent = run_python(SENDS % (model.url, str(PHOTO)), **otlp(url))
        assert len(model.requests) == 200
    assert (sent.returncode, sent.stdout.splitlines()) == (
        0,
        [f"{number} {{'predictions': [1]}}" for number in range(1, 201)],
    )
    # More spans than one batch, fewer than the queue holds.
    assert re.search(rf"^(\d+) of \1 spans were not exported to {url}/v1/traces: ", sent.stderr, re.MULTILINE)


def test_a_collector_that_never_answers_does_not_keep_a_process_from_ending(collector):
    collector.hangs()
    ended = run_python(START + "spans(1500)", **otlp(collector.url))
    assert ended.returncode == 0
    assert f"1500 of 1500 spans were not exported to {collector.url}/v1/traces: " in ended.stderr


def test_what_a_full_queue_drops_is_counted(collector):
    collector.hangs()
    script = (
        PATIENT
        + """
spans(512)  # the first batch, which the collector keeps
while not os.path.exists("kept"): time.sleep(0.01)
spans(3000)
open("dropped", "w").close()
"""
    )
    with start_python(script, **otlp(collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="3600")) as process:
        wait_until("the first batch", lambda: collector.requests)
        Path("kept").touch()
        wait_until("the rest", Path("dropped").exists)
        collector.accept()
        collector.stopping.set()
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    # The queue holds 2048; the first batch's connection was closed without an answer, and it was sent again.
    arrived = len({span.span_id for span in collector.spans()})
    assert arrived == 512 + 2048
    assert parted(errors)[0] == (
        f"{3512 - arrived} of 3512 spans were not exported to {collector.url}/v1/traces: "
        "they ended faster than they could be exported"
    )


def test_ctrl_c_while_the_last_spans_are_tried_ends_at_once(collector):
    collector.hangs()
    with start_python(PATIENT + "spans(3)", **otlp(collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="3600")) as process:
        wait_until("the last export", lambda: collector.requests)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert errors == (
        f"3 of 3 spans were not exported to {collector.url}/v1/traces: they had not left when the process ended\n"
    )


def test_a_second_sigterm_while_the_last_spans_are_tried_ends_at_once(collector):
    collector.hangs()
    script = PATIENT + "spans(3); print('working', flush=True); time.sleep(3600)"
    with start_python(script, **otlp(collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="3600")) as process:
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        wait_until("the last export", lambda: collector.requests)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGTERM
    assert errors == (
        f"3 of 3 spans were not exported to {collector.url}/v1/traces: they had not left when the process ended\n"
    )


def test_a_collector_that_comes_back_gets_the_new_traces():
    port = free_port()
    script = (
        START
        + """
spans(2)
print(otel_kfs.flush(30), flush=True)
while not os.path.exists("back"): time.sleep(0.01)
spans(3)
print(otel_kfs.flush(30), flush=True)
"""
    )
    with start_python(script, **otlp(f"http://127.0.0.1:{port}")) as process:
        assert process.stdout.readline() == "False\n"
        with collecting(port) as collector:
            Path("back").touch()
            output, errors = process.communicate(timeout=LIMIT)
    assert (output, Counter(span.name for span in collector.spans())) == ("True\n", {"work": 3})
    where = f"http://127.0.0.1:{port}/v1/traces: {FAILED}"
    assert [line for line in errors.splitlines() if "not exported" in line] == [
        f"spans are not exported to {where}",
        f"2 of 5 spans were not exported to {where}",
    ]
