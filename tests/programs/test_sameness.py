"""Programs under `exec` beside the same ones untraced: what they are given, what they do, and how they end."""

from __future__ import annotations

import os
import pty
import random
import re
import resource
import select
import shlex
import shutil
import signal
import socket
import stat
import subprocess
from contextlib import ExitStack, contextmanager, suppress

import pytest
from programs_support import EXEC, comparable

pytestmark = [pytest.mark.curl, pytest.mark.usefixtures("no_curlrc")]

SIDES = {"untraced": [], "exec": EXEC}
SECONDS = 60
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# A "curl" that writes down what it was given, and then ends as it is told.
RECORDER = """#!/bin/sh
case "$1 $2" in "-q --version" | "-q --help") exec {curl} "$@" ;; esac
{{
    printf '%s\\n' "$@"
    tr '\\0' '\\n' < /proc/$$/environ | sort
    grep -E '^(Umask|SigBlk|SigIgn|SigPnd|ShdPnd|CapEff|NoNewPrivs|Cpus_allowed):' /proc/self/status
    for fd in /proc/$$/fd/*; do echo "${{fd##*/}} $(readlink "$fd")"; done
    cut -d' ' -f5-8,19 /proc/$$/stat
    cat /proc/$$/limits
    pwd
    cat
}} > record
trap - TERM INT HUP
[ "$END" -lt 0 ] && kill "$END" $$
exit "$END"
"""


def same(line):
    """Return a line of a record without a pipe's number, and without two signals that glibc ignores in what it spawns.

    32 and 33 are its threads' own, and can't be sent or asked for by others.
    """
    if line.startswith(b"SigIgn:"):
        return b"SigIgn: %x" % (int(line.split()[1], 16) & ~0x180000000)
    return re.sub(rb"pipe:\[\d+\]", b"pipe", line)


@pytest.fixture
def recorder(tmp_path):
    """The recording program, and what to call to run it on one side: its exit code and its record."""
    file = tmp_path / "bin" / "curl"
    file.parent.mkdir()
    file.write_text(RECORDER.format(curl=shutil.which("curl")))
    file.chmod(0o755)
    (tmp_path / "out").touch()
    (tmp_path / "in").write_text("one\ntwo\n")

    def run(side, arguments, environment, before_start):
        with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "r+b") as out:
            done = subprocess.run(
                [*SIDES[side], file, *arguments],
                check=False,
                cwd=tmp_path,
                env=environment,
                stdin=source,
                stdout=out,
                stderr=out,
                close_fds=False,
                preexec_fn=before_start,
                timeout=SECONDS,
            )
            assert os.lseek(source.fileno(), 0, os.SEEK_CUR) == 8
        lines = [same(line) for line in (tmp_path / "record").read_bytes().split(b"\n")]
        added = [at for at, line in enumerate(lines) if line.startswith((b"traceparent: ", b"%{stderr}%output"))]
        assert len(added) >= (side == "exec")
        for at in reversed(added):
            del lines[at - 1 : at + 1]  # the option and its value
        return done.returncode, lines

    return run


@pytest.mark.parametrize("seed", range(8))
def test_a_program_is_given_what_it_is_given_untraced_and_ends_as_it_does_there(recorder, tmp_path, seed):
    drawn = random.Random(seed)

    def text(length=12):
        return bytes(drawn.choice([*range(32, 127), *range(128, 256)]) for _ in range(drawn.randrange(length)))

    arguments = [b"http://127.0.0.1:1/"]
    for option in drawn.choices([b"-d", b"-H", b"--data-raw", b"-A", b"-sd", b"--user-agent", b"-T"], k=4):
        arguments += [option, b"x" + text()]
    environment = {name.encode(): os.environb[name.encode()] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment |= {b"V%d" % number: text() for number in range(3)}
    # Without a locale, Python sets one in its own environment.
    environment |= drawn.choice([{}, {b"LC_CTYPE": b"C"}, {b"LANG": b"C.UTF-8"}, {b"LC_ALL": b"C"}])
    catchable = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGTSTP", "SIGALRM", "SIGWINCH"]
    ends = [0, 1, 7, 255, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGABRT]
    environment[b"END"] = b"%d" % ends[(seed + 5) % len(ends)]
    ignored = drawn.sample(catchable, drawn.randrange(4))
    blocked = drawn.sample(catchable, drawn.randrange(3))
    mask, extra = drawn.choice([0o000, 0o022, 0o077, 0o777]) & 0o377, drawn.sample(range(3, 30), 3)
    file = os.open(tmp_path / "in", os.O_RDWR)

    def before_start():
        os.umask(mask)
        for name in ignored:
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in blocked})
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (64 + seed, 64 + seed))
        os.nice(seed)
        kept = os.dup2(file, 40)
        for number in range(3, 40):
            with suppress(OSError):
                os.set_inheritable(number, False)
        for number in extra:
            os.dup2(kept, number)
        os.set_inheritable(kept, False)

    try:
        untraced, traced = (recorder(side, arguments, environment, before_start) for side in SIDES)
    finally:
        os.close(file)
    assert traced == untraced


# What shells do with curl's streams; $CURL is curl, traced or not, $URL a server.
SCRIPTS = [
    "$CURL -s -d @<(echo hi) $URL",
    "$CURL -s -H @<(echo 'X-Given: yes') $URL",
    "$CURL -s -o /dev/fd/3 $URL 3> file",
    "$CURL -s $URL -o >(cat > file; echo done > ended); read -t 60 < <(tail -F ended 2> /dev/null)",
    "$CURL -K <(echo silent; echo 'data = \"x\"') $URL",
    "mkfifo settings; (echo silent > settings &); $CURL -K settings $URL",
    "$CURL -s -w @<(printf '%%{http_code}') $URL",
    "$CURL -s -w @missing $URL",
    "$CURL -s -K missing $URL",
    "$CURL -s -K /dev/stdin $URL <<< 'data = \"x\"'",
    "$CURL -s -T - $URL <<< text",
    "{ $CURL -s -d x $URL; cat; } <<< rest",
    "$CURL -sv $URL 2>&1",
    "$CURL -sv $URL > file 2>&1",
    "$CURL -sv $URL 2>&1 | cat",
    "$CURL -sv $URL -o /dev/stdout 2>&1",
    "$CURL -sv -w '%{stderr}[%{http_code}]%{stdout}(%{http_code})' $URL 2>&1 > file",
    "$CURL -sv $URL > file 2> errors",
    "$CURL -s -S $URL 2>&-",
    "$CURL -s -S $URL >&-",
    "$CURL -s $URL <&-",
    "$CURL -s -S $URL <&- >&- 2>&-",
    "$CURL -s -S $URL > /dev/full",
    "$CURL -sSv $URL > /dev/full 2>&1",
    "$CURL -s $URL/large | head -c 10; echo ${PIPESTATUS[0]}",
    "$CURL -s $URL/large 2>&1 | head -c 10; echo ${PIPESTATUS[0]}",
    "$CURL -s --fail $URL/broken; echo $?",
    "umask 077; $CURL -s -o file $URL",
    "$CURL -s -d @- $URL < <(printf '%s' one; sleep 0.2; printf '%s' two)",
    "$CURL -s -H 'baggage: user=1' -H 'tracestate: vendor=1' $URL",
    "ulimit -n 20; $CURL -s $URL",
    "kill -INT $$ & wait; $CURL -s $URL",
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_curl_in_a_script_does_what_it_does_untraced(server, tmp_path, script):
    results = []
    for side, command in SIDES.items():
        folder = tmp_path / side
        folder.mkdir()
        server.requests.clear()
        variables = {
            **os.environ,
            "URL": server.url,
            "CURL": shlex.join([*command, "curl"]),
        }
        done = subprocess.run(
            ["bash", "-c", script], check=False, cwd=folder, env=variables, capture_output=True, timeout=SECONDS
        )
        errors = [line for line in done.stderr.splitlines() if not line.startswith(b"WARNING otel_kfs")]
        files = {
            file.name: (comparable(file.read_bytes()), file.stat().st_mode)
            for file in folder.iterdir()
            if stat.S_ISREG(file.stat().st_mode) and file.name != "spans.jsonl"
        }
        requests = [(*asked, {**headers, "traceparent": ""}, body) for *asked, headers, body in server.requests]
        traced = ["traceparent" in headers for _, _, headers, _ in server.requests]
        assert traced == [side == "exec"] * len(traced)
        results.append((done.returncode, comparable(done.stdout), comparable(b"\n".join(errors)), files, requests))
    assert results[1] == results[0]


@contextmanager
def waiting(side, tmp_path, before_start=os.setpgrp, **options):
    """A curl that waits for an answer, on one side: it, its own process id, and what to call to have it answered."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        command = [*SIDES[side], "curl", "-s", f"http://127.0.0.1:{listening.getsockname()[1]}/"]
        with subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=before_start,  # noqa: PLW1509
            **options,
        ) as running:
            try:
                connection, _ = listening.accept()
                with connection:
                    assert connection.recv(4) == b"GET "
                    yield running, lambda: connection.sendall(ANSWER)
            finally:
                if running.poll() is None:
                    running.kill()


ENDING = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGABRT", "SIGVTALRM", "SIGIO"]


@pytest.mark.parametrize(
    ("name", "to"), [*((name, "process") for name in ENDING), *((name, "group") for name in ENDING[:4])]
)
def test_a_signal_ends_curl_and_whoever_started_it_sees_which(tmp_path, name, to):
    number = getattr(signal, name)

    def before_start():
        os.setpgrp()
        signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore it, as nohup does

    def ended(side):
        with waiting(side, tmp_path, before_start) as (running, _):
            os.kill(running.pid, number) if to == "process" else os.killpg(running.pid, number)
            out, err = running.communicate(timeout=SECONDS)
            with pytest.raises(ProcessLookupError):
                os.killpg(running.pid, 0)  # nobody of the group is left
        return running.returncode, out, err

    untraced, traced = map(ended, SIDES)
    assert traced == untraced == (-getattr(signal, name), b"", b"")


@pytest.mark.parametrize(
    "name", ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGALRM", "SIGPIPE", "SIGWINCH"]
)
def test_a_signal_that_was_ignored_before_does_not_end_curl(tmp_path, name):
    number = getattr(signal, name)

    def before_start():
        os.setpgrp()
        signal.signal(number, signal.SIG_IGN)

    def ended(side):
        with waiting(side, tmp_path, before_start, restore_signals=False) as (running, answer):
            os.kill(running.pid, number)
            os.killpg(running.pid, number)
            answer()
            out, err = running.communicate(timeout=SECONDS)
        return running.returncode, out, err

    untraced, traced = map(ended, SIDES)
    assert traced == untraced == (0, b"ok", b"")


def test_a_timer_that_was_set_before_the_start_ends_curl(tmp_path):
    """As `perl -e 'alarm shift; exec @ARGV'` does: the timer stays with the process, whatever it runs."""

    with ExitStack() as both:
        started = [both.enter_context(waiting(side, tmp_path, lambda: signal.alarm(10)))[0] for side in SIDES]
        assert [running.wait(SECONDS) for running in started] == [-signal.SIGALRM, -signal.SIGALRM]


@pytest.mark.parametrize("name", ["SIGTSTP", "SIGSTOP"])
def test_a_stopped_curl_is_a_stopped_job_and_goes_on_when_told_to(tmp_path, name):
    def stopped(side):
        with waiting(side, tmp_path) as (running, answer):
            # SIGSTOP reaches who is asked, and nobody else: a shell sends it to the whole job.
            os.killpg(running.pid, getattr(signal, name)) if name == "SIGSTOP" else os.kill(running.pid, signal.SIGTSTP)
            _, status = os.waitpid(running.pid, os.WUNTRACED)
            states = {state(pid) for pid in group(running.pid)}
            os.kill(running.pid, signal.SIGCONT) if name == "SIGTSTP" else os.killpg(running.pid, signal.SIGCONT)
            answer()
            out, err = running.communicate(timeout=SECONDS)
        return os.WIFSTOPPED(status), os.WSTOPSIG(status), states, running.returncode, out, err

    untraced, traced = map(stopped, SIDES)
    assert traced == untraced == (True, getattr(signal, name), {"T"}, 0, b"ok", b"")


def group(leader):
    """The processes of a group."""
    found = subprocess.run(["ps", "-eo", "pid=,pgid="], check=True, capture_output=True, text=True).stdout
    return [int(pid) for pid, pgid in map(str.split, found.splitlines()) if int(pgid) == leader]


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


@contextmanager
def terminal(command, tmp_path):
    """A command in a terminal of its own: what to call with a text to wait for, and with keys to type."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execvp(command[0], command)
    shown = b""

    def wait_for(text):
        nonlocal shown
        while text not in shown:
            ready, _, _ = select.select([fd], [], [], SECONDS)
            assert ready, shown
            try:
                shown += os.read(fd, 4096)
            except OSError:  # the terminal's other side is closed
                break
        before, found, shown = shown.partition(text)
        assert found, before
        return before

    try:
        yield wait_for, lambda keys: os.write(fd, keys)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(fd)


# Says when it runs, counts what it gets, and ends when it is told to.
COUNTER = """#!/bin/bash
case "$1 $2" in "-q --version" | "-q --help") exec {curl} "$@" ;; esac
count=0
trap 'count=$((count + 1)); echo got $count' {name}
trap 'echo total $count; exit 3' USR1
echo ready $$
while :; do sleep 0.1; done
"""


@pytest.mark.parametrize(("name", "keys"), [("INT", b"\x03"), ("QUIT", b"\x1c")])
def test_keys_that_send_signals_reach_a_program_once(tmp_path, name, keys):
    program = tmp_path / "curl"
    program.write_text(COUNTER.format(curl=shutil.which("curl"), name=name))
    program.chmod(0o755)

    def got(side):
        with terminal([*SIDES[side], str(program), "http://127.0.0.1:1/"], tmp_path) as (wait_for, write):
            wait_for(b"ready ")
            pid = int(wait_for(b"\r\n"))
            write(keys)
            wait_for(b"got 1")
            os.kill(pid, signal.SIGUSR1)
            wait_for(b"total ")
            return wait_for(b"\r\n")

    assert [got(side) for side in SIDES] == [b"1", b"1"]


def test_ctrl_c_ends_the_script_that_runs_curl(tmp_path):
    def after(side):
        with waiting_in_script(side, tmp_path) as (wait_for, write, _):
            write(b"\x03")
            wait_for(b"status ")
            return wait_for(b"\r\n")

    untraced, traced = map(after, SIDES)
    assert traced == untraced == b"130"


STOPPED = "set -m; {curl}; echo stopped $?; fg > /dev/null; echo went on $?; exit 0"


def test_ctrl_z_stops_curl_as_a_job_of_its_shell_which_brings_it_back(tmp_path):
    def after(side):
        with waiting_in_script(side, tmp_path, STOPPED) as (wait_for, write, answer):
            write(b"\x1a")
            wait_for(b"stopped ")
            first = wait_for(b"\r\n")
            answer()
            wait_for(b"went on ")
            return first, wait_for(b"\r\n")

    untraced, traced = map(after, SIDES)
    assert traced == untraced == (b"148", b"0")


@contextmanager
def waiting_in_script(side, tmp_path, script="{curl}; echo the script goes on"):
    """A shell's script in a terminal, within it a curl that waits for an answer; last, the script's exit code."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        curl = shlex.join([*SIDES[side], "curl", "-s", f"http://127.0.0.1:{listening.getsockname()[1]}/"])
        command = ["bash", "-c", f"trap : INT; bash -c {shlex.quote(script.format(curl=curl))}; echo status $?"]
        with terminal(command, tmp_path) as shown:
            connection, _ = listening.accept()
            with connection:
                assert connection.recv(4) == b"GET "
                yield *shown, lambda: connection.sendall(ANSWER)


def test_descriptors_of_execs_own_stay_with_it_whatever_exports(recorder, tmp_path):
    """An exporter's connections are not the program's."""
    environment = {**os.environ, "END": "0", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"
    environment["OTEL_EXPORTER_OTLP_TIMEOUT"] = "0.1"
    untraced, traced = (recorder(side, ["http://127.0.0.1:1/"], environment, None) for side in SIDES)
    assert traced == untraced
