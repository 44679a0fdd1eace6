"""Processes forked after `configure`: each exports its own spans, once, as itself, and waits for nobody's lock."""

import json
import os
import signal
import sys
from collections import Counter

import pytest
from collector_support import collecting
from support import LIMIT, read_traces, run_python, start_python, wait_until

START = """
import os, sys, otel_kfs
from opentelemetry import trace
otel_kfs.configure("a-service")
tracer = trace.get_tracer("a test")

def span(name, **attributes):
    with tracer.start_as_current_span(name, attributes=attributes):
        pass

def wait(*children):
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
"""

CHILD = """
child = os.fork()
if child == 0:
    span("in the child")
"""

FORK = f"""
span("before")
{CHILD}
    sys.exit()
span("in the parent")
wait(child)
print(os.getpid(), child)
"""


@pytest.fixture
def collector():
    with collecting() as running:
        yield running


def otlp(collector):
    return collector.settings


def run_forking(script, **environment):
    """A script behind START, when it has ended."""
    return run_python(START + script, **environment)


def by_process(exported, output):
    """The names of the spans of the parent and of its children, as their ids are printed."""
    pids = [int(pid) for pid in output.split()]
    assert {span.pid for span in exported} <= set(pids)
    return [sorted(span.name for span in exported if span.pid == pid) for pid in pids]


def test_parent_and_child_export_their_own_spans_once_each(collector):
    ended = run_forking(FORK, **otlp(collector))
    assert ended.stderr == ""
    assert by_process(collector.spans(), ended.stdout) == [["before", "in the parent"], ["in the child"]]


def test_a_child_exports_with_an_exporter_of_its_own():
    script = """
import os, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_kfs.telemetry.export.exporter import CountingBatchProcessor, CountingExporter

made = []

def make():
    made.append(InMemorySpanExporter())
    return made[-1]

provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(CountingBatchProcessor(CountingExporter(make, "memory")))

def span(name):
    provider.get_tracer("a test").start_span(name).end()
    provider.force_flush()
    print([[span.name for span in exporter.get_finished_spans()] for exporter in made], flush=True)

span("before")
child = os.fork()
if child == 0:
    span("in the child")
    os._exit(0)
os.waitpid(child, 0)
span("in the parent")
"""
    ended = run_python(script)
    assert (ended.stdout.splitlines(), ended.stderr) == (
        ["[['before']]", "[['before'], ['in the child']]", "[['before', 'in the parent']]"],
        "",
    )


def test_a_fork_while_a_thread_exports_waits_for_nothing(collector):
    collector.hangs()
    busy = """
import pathlib, threading, time
span("earlier")
threading.Thread(target=otel_kfs.flush, daemon=True).start()
while not pathlib.Path("is exporting").exists():
    time.sleep(0.01)
"""
    with start_python(START + busy + FORK, **otlp(collector)) as process:
        wait_until("the export", lambda: collector.requests)
        collector.accept()  # but the first one stays without an answer
        open("is exporting", "w").close()
        wait_until("the child's export", lambda: len(collector.requests) > 1)
        collector.stopping.set()
        output, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert by_process(collector.spans(), output)[1] == ["in the child"]


def test_processes_that_append_to_one_file_leave_its_lines_whole(tmp_path):
    script = """
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        for _ in range(50):
            span("large", text="x" * 100_000)
            otel_kfs.flush()
        sys.exit()
    children.append(child)
wait(*children)
print(*children)
"""
    ended = run_forking(script, OTEL_KFS_TRACES_FILE="spans.jsonl")
    assert ended.stderr == ""
    lines = [json.loads(line) for line in (tmp_path / "spans.jsonl").read_text().splitlines()]
    written = Counter()
    for line in lines:
        for resource in line["resourceSpans"]:
            of = {pair["key"]: pair["value"] for pair in resource["resource"]["attributes"]}
            written[of["process.pid"]["intValue"]] += sum(len(scope["spans"]) for scope in resource["scopeSpans"])
    assert {int(pid): count for pid, count in written.items()} == {int(pid): 50 for pid in ended.stdout.split()}
    assert len({span.span_id for span in read_traces(tmp_path / "spans.jsonl")}) == 200


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, multiprocessing does not fork")
def test_a_child_of_multiprocessing_exports_at_its_end(collector):
    script = """
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=span, args=["in the child"])
process.start(); process.join()
span("in the parent")
print(os.getpid(), process.pid)
"""
    ended = run_forking(script, **otlp(collector))
    assert ended.stderr == ""
    assert by_process(collector.spans(), ended.stdout) == [["in the parent"], ["in the child"]]


@pytest.mark.kafka
def test_a_record_under_way_stays_its_parent_s(collector):
    script = """
import logging
from otel_kfs.kafka import Producer
quiet = logging.getLogger("quiet"); quiet.setLevel(100)
producer = Producer({"bootstrap.servers": "127.0.0.1:9", "message.timeout.ms": 500, "logger": quiet})
producer.produce("t", b"1")
child = os.fork()
if child == 0:
    span("in the child")
    otel_kfs.flush()
    import atexit
    atexit._run_exitfuncs()
    os._exit(0)  # librdkafka's threads are not here, and closing its client would wait for them
producer.flush()
wait(child)
print(os.getpid(), child)
"""
    ended = run_forking(script, **otlp(collector))
    assert ended.stderr == ""
    assert by_process(collector.spans(), ended.stdout) == [["send t"], ["in the child"]]


def test_a_child_that_ends_by_os_exit_exports_at_its_end(collector):
    script = f"""
{CHILD}
    grandchild = os.fork()
    if grandchild == 0:
        span("in the grandchild")
        os._exit(0)
    wait(grandchild)
    print(os.getppid(), os.getpid(), grandchild, flush=True)
    os._exit(7)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7
"""
    ended = run_forking(script, **otlp(collector))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert by_process(collector.spans(), ended.stdout) == [[], ["in the child"], ["in the grandchild"]]


def run_pool(collector, pool):
    """A pool whose children serve once; the process when it has ended."""
    script = f"""
{pool}
pool.map(span, [f"task {{number}}" for number in range(10)], chunksize=1)
pool.close(); pool.join()
"""
    return run_forking(script, **otlp(collector))


TASKS = [f"task {number}" for number in range(10)]


def test_a_pool_whose_children_serve_once_loses_no_span(collector):
    fork = 'import multiprocessing; pool = multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1)'
    assert run_pool(collector, fork).stderr == ""
    assert sorted(span.name for span in collector.spans()) == TASKS


def test_billiard_s_pool_loses_no_span(collector):
    ended = run_pool(collector, "from billiard.pool import Pool; pool = Pool(2, maxtasksperchild=1)")
    assert sorted(span.name for span in collector.spans()) == TASKS
    assert ended.returncode == 0


def test_a_child_s_spans_leave_before_it_can_be_killed(collector):
    script = f"""
import signal
{CHILD}
    signal.pause()
print(child, flush=True)
signal.pause()
"""
    with start_python(START + script, OTEL_BSP_SCHEDULE_DELAY="600000", **otlp(collector)) as process:
        child = int(process.stdout.readline())
        wait_until("the child's span", collector.spans)
        os.kill(child, signal.SIGKILL)
        process.kill()
    assert [(span.name, span.pid) for span in collector.spans()] == [("in the child", child)]


def test_a_watchdog_ends_a_child_that_is_stuck(collector):
    script = f"""
import logging, threading
from otel_kfs.telemetry import provider
provider._OS_EXIT_SECONDS = 2.0  # of 11
{CHILD}
    logging.root.addHandler(logging.StreamHandler())
    logging.root.handlers[0].acquire()  # and never let go
    threading.Thread(target=os._exit, args=[3]).start()
    threading.Event().wait()
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
"""
    collector.answers(400)
    assert run_forking(script, **otlp(collector)).stdout == "3\n"
