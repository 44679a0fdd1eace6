"""`otel-kfs bridge` as a process: what it prints, how it ends, and with which exit code."""

import json
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from bridge_support import SOON_JOINED
from kafka_support import produce_with_header
from support import LIMIT, read_traces, start, unserved_port, wait_until

from otel_kfs.bridge.outcomes import Answer, as_json

pytestmark = pytest.mark.kafka


@pytest.fixture
def run(broker, topic, group, server, tmp_path):
    """Starts the command, from the test's topic to its server; its traces go to traces.jsonl."""
    settings = tmp_path / "consumer.properties"
    settings.write_text("".join(f"{key}={value}\n" for key, value in SOON_JOINED.items()))
    running = []

    def run_(*options, topics=(topic,), servers=broker):
        command = [sys.executable, "-m", "otel_kfs.cli", "bridge", "--bootstrap-servers", servers, "--group", group]
        command += ["--url", server.url, "--consumer-config", str(settings), "--traces-file", "traces.jsonl"]
        command += [part for name in topics for part in ("--topic", name)]
        running.append(start([*command, *options], PYTHONUNBUFFERED="1"))
        return running[-1]

    yield run_
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def pending(pid):
    """The signals that wait for a process: a bit each, from the first one."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))


def process_state(pid):
    """`T` for a process that is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_one_object_a_record_and_a_summary_at_the_end(run, server, send, topic, group):
    server.answer = lambda request, _: (400, b"no picture") if request.body == b"1" else (200, b'{"predictions": [7]}')
    send(b"1", b"2")
    bridge = run()
    lines = [json.loads(bridge.stdout.readline()) for _ in range(2)]
    bridge.send_signal(signal.SIGINT)
    rest, errors = bridge.communicate(timeout=LIMIT)
    assert rest == ""
    assert all(line.pop("duration") > 0 for line in lines)
    refusal = f"{server.url} answered 400 Bad Request: no picture"
    common = {"topic": topic, "partition": 0, "dead_letter": None, "attempt": 1, "requests": 1}
    assert lines == [
        {**common, "offset": 0, "outcome": "refused", "answer": None, "refused": refusal},
        {**common, "offset": 1, "outcome": "answered", "answer": {"predictions": [7]}, "refused": None},
    ]
    assert errors.splitlines() == [
        f"consuming {topic} as group {group}; Ctrl-C stops",
        f"refused: {topic}[0]@0: {refusal}",
        "2 records: 1 answered, 1 refused",
    ]


def test_a_record_with_a_header_whose_key_is_no_text_is_handed_over_and_parked_as_one_without_headers(
    run, server, broker, topic, make_topic, committed, fetch
):
    server.answers(400)
    dead = make_topic()
    produce_with_header(broker, topic, b"\xff\xfe", b"1")
    bridge = run("--dead-letter-topic", dead)
    line = bridge.stdout.readline()
    bridge.send_signal(signal.SIGINT)
    _, errors = bridge.communicate(timeout=LIMIT)
    assert (bridge.returncode, errors.splitlines()[-1]) == (130, "1 record: 1 dead-lettered")
    assert (json.loads(line)["dead_letter"], committed().offset) == (f"{dead}[0]@0", 1)
    (parked,) = fetch(dead)
    assert parked.value() == b"1"
    assert dict(parked.headers())["__connect.errors.topic"] == topic.encode()


def test_an_answer_that_is_nested_deeper_than_any_model_s_is_printed_and_the_record_committed(
    run, server, send, committed
):
    deep = "[" * 300 + "]" * 300
    server.answers(200, f'{{"predictions": {deep}}}'.encode())
    send(b"1")
    bridge = run()
    line = bridge.stdout.readline()
    bridge.send_signal(signal.SIGINT)
    _, errors = bridge.communicate(timeout=LIMIT)
    assert (bridge.returncode, errors.splitlines()[-1]) == (130, "1 record: 1 answered")
    assert json.dumps(json.loads(line)["answer"]) == f'{{"predictions": {deep}}}'
    assert committed().offset == 1


def test_an_answer_that_can_t_be_printed_is_reported_all_the_same():
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    line = json.loads(as_json(Answer("t", 0, 7, "answered", deep)))
    assert (line["offset"], line["outcome"], list(line["answer"])) == (7, "answered", ["not printed"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_record_in_hand_end_and_writes_its_span(run, server, send, committed, topic, number):
    asked, may_answer = threading.Event(), threading.Event()
    server.answer = lambda *_: asked.set() or (may_answer.wait(30) and (200, b"{}"))
    send(b"1", b"2")
    bridge = run()
    assert asked.wait(LIMIT)
    bridge.send_signal(number)
    wait_until("the signal is taken", lambda: not pending(bridge.pid) >> (number - 1) & 1)
    may_answer.set()
    output, _ = bridge.communicate(timeout=LIMIT)
    assert bridge.returncode == 128 + number
    assert [json.loads(line)["offset"] for line in output.splitlines()] == [0]
    assert committed().offset == 1
    assert [span.name for span in read_traces(_traces()) if span.name.startswith("process")] == [f"process {topic}"]


def test_a_second_signal_ends_it_at_once(run, server, send, committed):
    asked = threading.Event()
    server.hangs()
    hang = server.answer
    server.answer = lambda *of: asked.set() or hang(*of)
    send(b"1")
    bridge = run("--grace", "300")
    assert asked.wait(LIMIT)
    bridge.send_signal(signal.SIGTERM)
    # Two of the same kind at the same time are one.
    bridge.send_signal(signal.SIGINT)
    bridge.wait(30)
    assert bridge.returncode in {128 + signal.SIGTERM, 128 + signal.SIGINT}
    assert committed().offset <= 0


def test_a_process_that_was_stopped_goes_on_when_it_is_continued(run, server, send):
    send(b"1")
    bridge = run()
    assert json.loads(bridge.stdout.readline())["offset"] == 0
    bridge.send_signal(signal.SIGSTOP)
    wait_until("the stop", lambda: process_state(bridge.pid) == "T")
    time.sleep(0.5)  # until the wait for signals would have been over
    bridge.send_signal(signal.SIGCONT)
    send(b"2")
    assert json.loads(bridge.stdout.readline())["offset"] == 1
    bridge.send_signal(signal.SIGTERM)
    bridge.communicate(timeout=LIMIT)
    assert bridge.returncode == 143


def test_the_grace_bounds_how_long_a_record_in_hand_is_waited_for(run, server, send, committed):
    asked = threading.Event()
    server.hangs()
    hang = server.answer
    server.answer = lambda *of: asked.set() or hang(*of)
    send(b"1")
    bridge = run("--grace", "0.1")
    assert asked.wait(LIMIT)
    bridge.send_signal(signal.SIGTERM)
    output, errors = bridge.communicate(timeout=LIMIT)
    assert (bridge.returncode, output) == (143, "")
    assert errors.splitlines()[-2:] == [
        "WARNING otel_kfs.bridge.record_workers: "
        "records not answered within the grace of 0.1 s, to be delivered again: 1",
        "0 records: 1 given back",
    ]
    assert committed().offset == 0


def test_a_model_that_can_t_be_reached_ends_it_with_one_line_and_exit_code_1(run, send, committed, topic):
    send(b"1")
    url = f"http://127.0.0.1:{unserved_port()}"
    bridge = run("--url", url, "--retries", "3")
    output, errors = bridge.communicate(timeout=LIMIT)
    assert (bridge.returncode, output) == (1, "")
    why = f"can't reach {url}: nothing answers there; check the URL and that the server runs"
    assert errors.splitlines()[1:] == [
        # Said when it begins, and once, however many retries there are.
        f"WARNING otel_kfs.bridge.record_workers: the model does not answer, trying again: {why}",
        "0 records",
        f"Error: {topic}[0]@0 stays uncommitted and will be delivered again: {why}",
    ]
    assert committed().offset <= 0


def test_a_reader_that_has_gone_ends_it_with_the_record_uncommitted(run, send, committed):
    bridge = run()
    bridge.stdout.close()
    send(b"1")
    assert bridge.wait(60) == 141
    assert committed().offset <= 0


@pytest.mark.parametrize(
    ("options", "topics", "line"),
    [
        ([], (), "Error: nothing to consume: give --topic"),
        (["--redrive"], (), "Error: --redrive reads the --dead-letter-topic: give that, and no --topic"),
        (
            ["--redrive", "--dead-letter-topic", "d"],
            ("t",),
            "Error: --redrive reads the --dead-letter-topic: give that, and no --topic",
        ),
    ],
)
def test_options_that_do_not_fit_together_are_a_usage_error(run, options, topics, line):
    bridge = run(*options, topics=topics)
    _, errors = bridge.communicate(timeout=LIMIT)
    assert (bridge.returncode, errors.splitlines()[-1]) == (2, line)


def test_a_redrive_of_a_topic_that_is_not_there_ends_with_one_line(run, broker):
    bridge = run("--redrive", "--dead-letter-topic", "not-there", topics=())
    _, errors = bridge.communicate(timeout=LIMIT)
    assert bridge.returncode == 1
    assert errors.splitlines()[1:] == [
        "0 records",
        f"Error: there is no topic not-there at {broker}: check --dead-letter-topic",
    ]


def test_a_broker_that_is_not_there_is_said_in_one_line(run):
    servers = f"127.0.0.1:{unserved_port()}"
    bridge = run("--grace", "0", servers=servers)
    lines = []
    threading.Thread(target=lambda: lines.extend(iter(bridge.stderr.readline, "")), daemon=True).start()
    wait_until("the line", lambda: any(f"no broker reached at {servers}, trying again: " in line for line in lines))
    bridge.send_signal(signal.SIGTERM)
    assert bridge.wait(LIMIT) == 143


def _traces():
    from pathlib import Path

    return Path("traces.jsonl")
