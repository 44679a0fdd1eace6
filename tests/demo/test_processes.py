"""Child processes: waited for, reported with their last words, and never left behind."""

import os
import signal
import socket
import uuid

import pytest
from demo_support import MARK, processes_of
from support import run_python, start_python, wait_until

from otel_kfs.demo.processes import Processes, free_port, python
from otel_kfs.errors import DemoError

SLEEP = python("-c", "import signal; print('up', flush=True); signal.pause()")
DEAF = python(
    "-c", "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile 1: signal.pause()"
)
FORKING = python("-c", "import os, signal; child = os.fork(); child and print('up', flush=True); signal.pause()")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def printed(processes: Processes, name: str, text: str = "up") -> None:
    wait_until(f"{name} is up", lambda: text in processes.log(name).read_text())


def test_leaving_ends_every_process(tmp_path):
    with Processes(tmp_path / "logs") as processes:
        started = [processes.start(name, SLEEP) for name in ("one", "two")]
        printed(processes, "one")
        printed(processes, "two")
    assert [process.returncode for process in started] == [-signal.SIGTERM] * 2
    assert all(gone(process.pid) for process in started)


def test_an_exception_passes_through_and_leaves_nothing_behind(tmp_path):
    failure = ZeroDivisionError("the caller's own")
    started = []

    def fail() -> None:
        with Processes(tmp_path) as processes:
            started.append(processes.start("one", SLEEP))
            raise failure

    with pytest.raises(ZeroDivisionError) as raised:
        fail()
    assert raised.value is failure
    assert gone(started[0].pid)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("otel_kfs.demo.processes._STOP_SECONDS", 0.2)
    with Processes(tmp_path) as processes:
        process = processes.start("deaf", DEAF)
        printed(processes, "deaf")
    assert process.returncode == -signal.SIGKILL


def test_one_that_ignores_sigterm_does_not_keep_the_others_from_ending(tmp_path, monkeypatch):
    monkeypatch.setattr("otel_kfs.demo.processes._STOP_SECONDS", 0.2)
    with Processes(tmp_path) as processes:
        started = [processes.start(name, command) for name, command in (("one", SLEEP), ("deaf", DEAF))]
        printed(processes, "one")
        printed(processes, "deaf")
    assert [process.returncode for process in started] == [-signal.SIGTERM, -signal.SIGKILL]


def test_a_dead_process_is_reported_with_its_exit_code_and_last_words(tmp_path):
    with Processes(tmp_path) as processes:
        command = python("-c", "print('loading', flush=True); raise SystemExit('no weights\\n  here')")
        processes.start("predictor", command).wait()
        with pytest.raises(DemoError) as raised:
            processes.check()
    assert str(raised.value) == (
        f"the predictor ended with exit code 1; its log, {tmp_path}/predictor.log, ends: loading | no weights | here"
    )


def test_a_process_that_said_nothing_is_reported_as_such(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("bridge", python("-c", "raise SystemExit(3)")).wait()
        with pytest.raises(DemoError) as raised:
            processes.check()
    assert str(raised.value) == (f"the bridge ended with exit code 3; its log, {tmp_path}/bridge.log, ends: (empty)")


def test_waiting_notices_that_a_process_has_died(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("broker", python("-c", "raise SystemExit(2)"))
        with pytest.raises(DemoError, match=r"^the broker ended with exit code 2; "):
            processes.wait_until("broker", lambda: False, 30)


def test_waiting_notices_that_another_process_has_died(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("broker", SLEEP)
        processes.start("predictor", python("-c", "raise SystemExit(2)"))
        with pytest.raises(DemoError, match=r"^the predictor ended with exit code 2; "):
            processes.wait_until("broker", lambda: False, 30)


def test_waiting_has_a_limit(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("broker", SLEEP)
        printed(processes, "broker")
        with pytest.raises(DemoError) as raised:
            processes.wait_until("broker", lambda: False, 0.1)
    assert str(raised.value) == (f"the broker was not ready within 0.1 s; its log, {tmp_path}/broker.log, ends: up")


def test_waiting_ends_when_it_is_ready(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("broker", SLEEP)
        processes.wait_until("broker", lambda: True, 0.1)


def test_a_command_that_can_t_be_started_is_named(tmp_path):
    with (
        Processes(tmp_path) as processes,
        pytest.raises(DemoError, match=r"^can't start the broker: .*no-such"),
    ):
        processes.start("broker", ["no-such-command"])


def test_output_goes_to_the_log_and_a_pipe_takes_the_standard_one(tmp_path):
    with Processes(tmp_path) as processes:
        script = "import sys; print('answer'); print('remark', file=sys.stderr)"
        process = processes.start("bridge", python("-c", script), pipe=True)
        assert process.stdout.read() == b"answer\n"
        process.wait()
    assert processes.log("bridge").read_text() == "remark\n"


def test_the_environment_is_this_one_and_what_is_added(tmp_path, monkeypatch):
    monkeypatch.setenv("KEPT", "1")
    with Processes(tmp_path) as processes:
        script = "import os; print(os.environ['KEPT'], os.environ['ADDED'])"
        processes.start("one", python("-c", script), {"ADDED": "2"}).wait()
    assert processes.log("one").read_text() == "1 2\n"


def test_ctrl_c_of_the_terminal_does_not_reach_the_children(tmp_path):
    with Processes(tmp_path) as processes:
        process = processes.start("one", SLEEP)
        assert os.getpgid(process.pid) != os.getpgid(0)


# One that ignores SIGTERM, and one with a child of its own, as KFServing's workers are.
STARTS = f"""
import pathlib, signal
from otel_kfs.demo.processes import Processes
processes = Processes(pathlib.Path("logs"))
for name, command in {{"deaf": {DEAF}, "forking": {FORKING}}}.items():
    processes.start(name, command)
    processes.wait_until(name, lambda: "up" in processes.log(name).read_text(), 30)
print("up", flush=True)
"""


def test_a_parent_that_is_killed_leaves_nothing_behind():
    mark = uuid.uuid4().hex
    with start_python(STARTS + "signal.pause()", **{MARK: mark}) as parent:
        assert parent.stdout.readline() == "up\n"
        before = processes_of(mark)
        parent.kill()
    assert len(before) == 5  # the parent, its watchdog, and three
    wait_until("the end of all", lambda: not processes_of(mark))


def test_a_parent_that_ends_without_stopping_leaves_nothing_behind():
    mark = uuid.uuid4().hex
    run_python(STARTS, **{MARK: mark})
    wait_until("the end of all", lambda: not processes_of(mark))


def test_a_watchdog_that_was_killed_is_not_missed(tmp_path):
    with Processes(tmp_path) as processes:
        first = processes.start("one", SLEEP)
        processes._watchdog.kill()
        processes._watchdog.wait()
        second = processes.start("two", SLEEP)
        printed(processes, "one")
        printed(processes, "two")
    assert [first.returncode, second.returncode] == [-signal.SIGTERM] * 2


def test_a_free_port_can_be_listened_on():
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_a_free_port_is_not_free_for_whoever_did_not_ask_for_it():
    # A server takes a port in spite of connections that are over, by SO_REUSEADDR; whom the kernel gives one does not.
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(("127.0.0.1", free_port()))
