"""The real curl against a real server, under `otel-kfs exec`."""

import os
import shutil
import signal
import socket
import subprocess

import pytest
from programs_support import EXEC, comparable
from support import LIMIT

from otel_kfs.programs import curl_arguments
from otel_kfs.programs.curl import relay, steps
from otel_kfs.traces.span import Kind

pytestmark = [pytest.mark.curl, pytest.mark.usefixtures("no_curlrc")]

REPORTS_INTO_FILES = shutil.which("curl") is not None and curl_arguments.ask("curl").writes_reports_to_files
ANSWER = b'{"answer": "\xc3\xa9"}\n'


def traceparent(span):
    return f"00-{span.trace_id}-{span.span_id}"


def test_a_request_becomes_a_trace_whose_client_span_it_carries(execute, server):
    ran = execute("curl", "-s", "-d", "payload", f"{server.url}/v1/models/m:predict")
    assert (ran.code, ran.stdout, ran.stderr) == (0, ANSWER, b"")
    root, start, post = ran.span("send image"), ran.span("start program"), ran.span("POST")
    ((method, path, headers, body),) = server.requests
    assert (method, path, body) == ("POST", "/v1/models/m:predict", b"payload")
    assert headers["traceparent"].startswith(traceparent(post))
    assert (root.parent_id, start.parent_id, post.parent_id) == (None, root.span_id, root.span_id)
    assert root.attributes == {
        "otel_kfs.transport": "http",
        "otel_kfs.run.id": "r",
        "otel_kfs.sequence": 0,
        "otel_kfs.payload.size": 7,
        "process.executable.name": "curl",
        "process.exit.code": 0,
    }
    assert post.kind is Kind.CLIENT
    assert post.attributes == {
        "http.request.method": "POST",
        "http.request.body.size": 7,
        "http.response.status_code": 200,
        "url.full": f"{server.url}/v1/models/m:predict",
        "server.address": "127.0.0.1",
        "server.port": int(server.url.rpartition(":")[2]),
    }
    assert root.start == start.start <= start.end == post.start <= post.end <= root.end


def test_the_parts_follow_one_another_within_the_request(execute, server):
    ran = execute("curl", "-s", server.url)
    request = ran.span("GET")
    parts = [span for span in ran.spans if span.parent_id == request.span_id]
    assert [part.name for part in parts] == ["name look-up", "connect", "receive answer"]
    edges = [request.start, *(edge for part in parts for edge in (part.start, part.end)), request.end]
    assert edges == sorted(edges)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (["-sv"], "/"),
        (["-s", "-w", "%{http_code} %{size_download}\\n"], "/"),
        (["-sw%{stderr}[%{http_code}]"], "/"),
        (["-s", "-w", "%{onerror}only then"], "/"),
        (["-s", "-f", "-w", "%{onerror}%{http_code}"], "/broken"),
        (["-s", "-w", "first", "-w", "@format"], "/"),
        (["-s", "-o", "out"], "/"),
        (["-s", "-o", "/dev/stderr"], "/"),
        (["-s", "-i"], "/broken"),
        (["-s", "-I"], "/"),
        (["-s", "--fail-with-body"], "/broken"),
        (["-q", "-s"], "/"),
        (["-qsw", "%{method}"], "/"),
        (["-s", "--"], "/"),
        (["-s", "--retry", "1"], "/"),
        (["-s", "--stderr", "messages", "-v"], "/"),
        (["-s", "-L"], "/moved"),
        (["--help", "-s"], "/"),
        (["--nonsense"], "/"),
    ],
    ids=str,
)
def test_streams_files_and_exit_code_are_curls_own(execute, server, tmp_path, arguments, path):
    (tmp_path / "format").write_text("%{http_code}\n%{num_redirects}\n")
    command = ["curl", *arguments, f"{server.url}{path}"]

    def files():
        kept = {name: (tmp_path / name) for name in ("out", "messages")}
        return {name: comparable(file.read_bytes()) for name, file in kept.items() if file.is_file()}

    plain = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL)
    files_plain = files()
    ran = execute(*command)
    warning = b"".join(line for line in ran.stderr.splitlines(keepends=True) if line.startswith(b"WARNING otel_kfs"))
    assert (ran.code, comparable(ran.stdout)) == (plain.returncode, comparable(plain.stdout))
    assert comparable(ran.stderr.replace(warning, b"")) == comparable(plain.stderr)
    assert files() == files_plain
    without_parts = {"--retry", "--nonsense"} | (set() if REPORTS_INTO_FILES else {"--stderr", "/dev/stderr"})
    assert bool(warning) == bool(without_parts.intersection(arguments))


def test_a_refused_connection_is_curls_exit_code_7_and_a_failed_trace(execute):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets it
        ran = execute("curl", "-sS", f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert ran.code == 7
    assert ran.stdout == b""
    assert ran.stderr.startswith(b"curl: (7) ")
    root, request = ran.span("send image"), ran.span("GET")
    assert (root.failed, request.failed) == (True, True)
    assert (root.attributes["process.exit.code"], request.attributes["error.type"]) == (7, "curl_7")


def test_a_status_of_failure_fails_the_trace_and_not_curl(execute, server):
    ran = execute("curl", "-s", f"{server.url}/broken")
    assert (ran.code, ran.stdout) == (0, ANSWER)
    assert [(ran.span(name).failed, ran.span(name).attributes["error.type"]) for name in ("send image", "GET")] == [
        (True, "503"),
        (True, "503"),
    ]


def test_with_fail_curls_exit_code_is_execs(execute, server):
    ran = execute("curl", "-s", "--fail", f"{server.url}/broken")
    assert (ran.code, ran.stdout, ran.stderr) == (22, b"", b"")
    assert ran.span("GET").attributes["http.response.status_code"] == 503


def test_secrets_of_the_url_stay_out_of_the_trace(execute, server, tmp_path):
    url = server.url.replace("//", "//user:password@")
    assert execute("curl", "-s", f"{url}/path?token=secret").span("GET").attributes["url.full"] == f"{server.url}/path"
    text = (tmp_path / "spans.jsonl").read_text()
    assert ("password" in text, "secret" in text) == (False, False)


def test_redirects_are_one_part_that_curl_adds_up(execute, server):
    ran = execute("curl", "-s", "-L", f"{server.url}/moved")
    assert [path for _, path, _, _ in server.requests] == ["/moved", "/here"]
    request = ran.span("GET")
    assert [span.name for span in ran.spans if span.parent_id == request.span_id] == ["redirects"]
    assert request.attributes["http.response.status_code"] == 200


def test_without_timings_the_request_lasts_from_start_to_exit(execute, server, tmp_path):
    (tmp_path / ".curlrc").write_text('write-out = "%{http_code}"\n')
    ran = execute("curl", "-s", server.url)
    assert ran.stdout == ANSWER + b"200"
    assert ran.stderr.decode() == (
        f"WARNING otel_kfs.programs.curl: curl's request is one span without parts: {tmp_path}/.curlrc sets write-out\n"
    )
    assert {span.name for span in ran.spans} == {"send image", "GET"}
    assert server.requests[0][2]["traceparent"].startswith(traceparent(ran.span("GET")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{url}/a", "{url}/b"], "exec traces one request of curl at a time: start one"),
        (["{url}/a", "--next", "{url}/b"], "exec traces one request of curl at a time: start one"),
        (["{url}/[1-3]"], "exec traces one request of curl at a time, and [] or {} in a URL make many"),
        (["ftp://127.0.0.1/"], "exec traces curl's HTTP requests only"),
        (["-H", "TraceParent: 00-x", "{url}"], "curl's arguments set the header traceparent, which exec sets"),
    ],
)
def test_what_cannot_be_traced_is_refused_before_anything_is_sent(execute, server, arguments, message):
    ran = execute("curl", *(argument.replace("{url}", server.url) for argument in arguments))
    assert (ran.code, ran.stdout, server.requests, ran.spans) == (1, b"", [], [])
    assert ran.stderr.decode().startswith(f"Error: {message}")
    assert ran.stderr.count(b"\n") == 1


def test_another_program_is_refused_with_what_exec_can_run(execute):
    ran = execute("wget", "http://127.0.0.1/")
    assert (ran.code, ran.stdout) == (1, b"")
    assert ran.stderr.decode() == (
        "Error: exec can't run wget; it runs curl, kafka-console-producer.sh, or java ... "
        "org.apache.kafka.tools.ConsoleProducer, as the first word after --\n"
    )


def test_a_program_that_is_not_there_is_one_line(execute):
    ran = execute("/nowhere/curl", "http://127.0.0.1/")
    assert ran.code == 1
    assert ran.stderr == b"Error: can't start /nowhere/curl: No such file or directory; check its name and PATH\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_goes_to_curl_and_its_end_is_in_the_trace(execute, tmp_path, number):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        command = [*EXEC, "curl", "-s", url]
        running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        connection, _ = listening.accept()  # curl is there, and waits for an answer that nobody will give
        with connection:
            assert connection.recv(4) == b"GET "
            os.kill(running.pid, number)
            out, err = running.communicate(timeout=LIMIT)
    assert (running.returncode, out) == (-number, b"")
    assert b"Traceback" not in err
    from otel_kfs.traces import query

    root = next(span for span in query.spans(str(tmp_path / "spans.jsonl")) if span.name == "send image")
    assert (root.failed, root.attributes["process.exit.code"]) == (True, 128 + number)


def relayed(*chunks):
    """What `relay` makes of a stream that comes in these chunks."""
    source, sink = os.pipe()
    out_read, out_write = os.pipe()
    with open(out_read, "rb") as output:
        # One write a read: the next one is made when the last one was taken.
        with open(sink, "wb", buffering=0) as chunks_to:
            for chunk in chunks:
                chunks_to.write(chunk)
        with open(source, "rb", buffering=0), open(out_write, "wb"):
            reports, arrived = relay(source, out_write, b"<mark>")
        return output.read(), reports, arrived > 0


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", (b"", [], False)),
        (b"plain\n", (b"plain\n", [], False)),
        (b"<mark>{}<mark>", (b"", [b"{}"], True)),
        (b"before\r<mark>{}<mark>after", (b"before\rafter", [b"{}"], True)),
        (b"<ma", (b"<ma", [], False)),
        (b"<mark>1<mark>x<mark>2<mark>", (b"x", [b"1", b"2"], True)),
        (b"<<mark>1<mark><mar<", (b"<<mar<", [b"1"], True)),
        (b"x<mark>cut off", (b"x", [], True)),
    ],
)
def test_the_relay_takes_out_what_stands_between_marks(stream, expected):
    assert relayed(stream) == expected


TIMES = {
    "time_namelookup": 0.1,
    "time_connect": 0.2,
    "time_appconnect": 0.3,
    "time_pretransfer": 0.31,
    "time_posttransfer": 0.6,
    "time_starttransfer": 0.8,
    "time_total": 0.9,
    "size_upload": 5,
}
BEFORE = [("name look-up", 0.0, 0.1), ("connect", 0.1, 0.2), ("TLS handshake", 0.2, 0.3)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [*BEFORE, ("upload", 0.3, 0.6), ("receive answer", 0.8, 0.9)]),
        ({"size_upload": 0}, [*BEFORE, ("receive answer", 0.8, 0.9)]),
        ({"time_posttransfer": None}, BEFORE),
        ({"time_starttransfer": 0.32}, BEFORE),
        ({"time_starttransfer": 0.0}, BEFORE),
        ({"time_appconnect": 0, "time_pretransfer": 0, "time_starttransfer": 0}, BEFORE[:2]),
        ({"num_redirects": 2, "time_redirect": 0.5}, [("redirects", 0.0, 0.5)]),
    ],
)
def test_steps_are_what_curl_can_tell_of_a_request(changes, expected):
    assert steps({**TIMES, **changes}) == expected
