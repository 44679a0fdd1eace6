"""SIGTERM after `configure`: a program ends as it does without it, with the same exit code, and its spans are there."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from collector_support import collecting
from support import LIMIT, read_traces, start_python, wait_until

CONFIGURE = """
import otel_kfs
from opentelemetry import trace
otel_kfs.configure("a-service", traces_file="traces.jsonl")
def work():
    trace.get_tracer("a test").start_span("work").end()
"""
PLAIN = "work = lambda: None\n"

# Each prints "ready" when the signal may come.
PROGRAMS = {
    "waits": "print('ready', flush=True); time.sleep(600)",
    "is busy": "print('ready', flush=True)\nwhile True: pass",
    "waits for a lock": """
lock = threading.Lock()
lock.acquire()
print('ready', flush=True)
lock.acquire()
""",
    "has a thread that goes on": """
threading.Thread(target=lambda: time.sleep(600)).start()
print('ready', flush=True); time.sleep(600)
""",
    "has a main thread that is over": """
threading.Thread(target=lambda: time.sleep(600)).start()
print('ready', flush=True)
""",
    "catches everything": """
print('ready', flush=True)
while True:
    try:
        time.sleep(600)
    except BaseException:
        print('caught', flush=True)
""",
    "cleans up": """
atexit.register(lambda: print('exit hook', flush=True))
try:
    print('ready', flush=True); time.sleep(600)
finally:
    print('finally', flush=True)
""",
    "has text in a buffer": """
own = open(1, "w", closefd=False)  # whose buffer PYTHONUNBUFFERED leaves alone
own.write('buffered')
print('ready', flush=True); time.sleep(600)
""",
    "runs a loop": """
async def main():
    print('ready', flush=True); await asyncio.sleep(600)
asyncio.run(main())
""",
    "handles it": """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print('ready', flush=True); time.sleep(600)
""",
    "ignores it": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('ready', flush=True)
sys.stdin.read() or time.sleep(1); print('went on', flush=True)
""",
    "forks a child that catches everything": """
import multiprocessing
processes = multiprocessing.get_context("fork")
is_up = processes.Event()
def child():
    work()
    is_up.set()
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass
started = processes.Process(target=child)
started.start()
is_up.wait()
signal.signal(signal.SIGTERM, lambda *_: (started.terminate(), started.join(), sys.exit(-started.exitcode)))
print('ready', flush=True)
time.sleep(600)
""",
}


def ended(program, before):
    """The exit code and the output of a program that got a SIGTERM."""
    script = f"import asyncio, atexit, signal, sys, threading, time\n{before}\nwork()\n{program}"
    with start_python(script) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=LIMIT)
    return process.returncode, output, errors


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_as_without_telemetry_and_its_spans_are_in_the_file(name):
    plain, traced = (ended(PROGRAMS[name], before) for before in (PLAIN, CONFIGURE))
    assert traced == plain
    assert {span.name for span in read_traces(Path("traces.jsonl"))} == {"work"}


UNSHARE = ["unshare", "--pid", "--fork"]


def can_be_first():
    has_it = shutil.which("unshare")
    return bool(has_it) and subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_be_first(), reason="no process may be the first one of a container here")
def test_the_first_process_of_a_container_goes_on_as_without_telemetry_and_exports_its_spans():
    found = []
    for before in (PLAIN, CONFIGURE):
        program = """
import os, pathlib, signal, time
os.kill(os.getpid(), signal.SIGTERM)
while "otel_kfs" in globals() and not pathlib.Path("traces.jsonl").stat().st_size:
    time.sleep(0.01)
print(os.getpid(), "goes on")
"""
        command = [*UNSHARE, sys.executable, "-c", f"{before}\nwork()\n{program}"]
        found.append(subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT).stdout)
    assert found == ["1 goes on\n"] * 2


def test_a_collector_that_never_answers_is_waited_for_within_the_promised_time_and_the_loss_is_said():
    with collecting() as collector:
        collector.hangs()
        script = (
            CONFIGURE.replace(', traces_file="traces.jsonl"', "") + "\nimport time\nwork(); print('ready', flush=True)"
        )
        with start_python(script + "\ntime.sleep(600)", **collector.settings) as process:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGTERM
    where = f"{collector.url}/v1/traces"
    assert errors == f"1 of 1 spans were not exported to {where}: they had not left when the process ended\n"


def test_a_sigterm_while_the_program_ends_by_itself_ends_it_by_that_signal():
    with collecting() as collector:
        collector.hangs()
        # By itself, it would wait for that collector until the test is given up.
        patient = "from otel_kfs.telemetry import sigterm; from otel_kfs.telemetry.export import exporter\n"
        patient += "exporter.EXIT_SECONDS = sigterm._LIMIT_SECONDS = 3600.0\n"
        script = patient + CONFIGURE.replace(', traces_file="traces.jsonl"', "") + "\nwork()"
        with start_python(script, **collector.settings) as process:
            wait_until("the last export", lambda: collector.requests)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == -signal.SIGTERM
    assert errors.startswith("1 of 1 spans were not exported to ")
