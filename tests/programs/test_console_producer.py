"""Kafka's own console producer against a real Apache Kafka, under `otel-kfs exec`."""

from __future__ import annotations

import itertools
import os
import random
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from programs_support import EXEC
from support import LIMIT, new_topic

from otel_kfs.traces import query
from otel_kfs.traces.span import Kind

pytestmark = pytest.mark.services

DATES = re.compile(rb"\d+-\d+-\d+ \d+:\d+:\d+,\d+|/dev/fd/\d+")
CLASS = "org.apache.kafka.tools.ConsoleProducer"


@pytest.fixture(scope="module")
def kafka():
    sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "services"))
    import services

    with services.kafka() as running:
        yield running


@pytest.fixture
def topic(kafka):
    """A topic of one partition, the test's own."""
    return new_topic(kafka.bootstrap_servers)


def producer(kafka, topic, *arguments):
    return kafka.tool(CLASS, "--bootstrap-server", kafka.bootstrap_servers, "--topic", topic, *arguments)


def records(kafka, topic, count):
    """The topic's first records: key, value, headers."""
    from confluent_kafka import Consumer, TopicPartition

    limit = 100_000_000
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "group.id": "unused",
            "fetch.message.max.bytes": limit,
            "receive.message.max.bytes": limit + 1000,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        found = [consumer.consume(1, timeout=30)[0] for _ in range(count)]
        assert consumer.poll(0.2) is None
        return [(record.key(), record.value(), dict(record.headers() or [])) for record in found]
    finally:
        consumer.close()


def traceparent(span):
    return f"00-{span.trace_id}-{span.span_id}-03".encode()


def test_a_file_of_one_line_is_a_trace_that_begins_with_the_programs_start(execute, kafka, topic, tmp_path):
    (tmp_path / "line").write_bytes(b'{"instances": ["\xc3\xa9"]}\n')
    with (tmp_path / "line").open("rb") as line:
        ran = execute(*producer(kafka, topic), stdin=line)
    assert (ran.code, ran.stdout, ran.stderr) == (0, b"", b"")
    root, start, send = ran.span("send image"), ran.span("start program"), ran.span(f"send {topic}")
    assert records(kafka, topic, 1) == [(None, b'{"instances": ["\xc3\xa9"]}', {"traceparent": traceparent(send)})]
    assert (root.parent_id, start.parent_id, send.parent_id) == (None, root.span_id, root.span_id)
    assert root.start == start.start < start.end == send.start <= send.end <= root.end
    assert root.attributes == {
        "otel_kfs.transport": "kafka",
        "otel_kfs.run.id": "r",
        "otel_kfs.sequence": 0,
        "otel_kfs.payload.size": 21,
        "process.executable.name": "kafka-console-producer",
        "process.exit.code": 0,
    }
    assert send.kind is Kind.PRODUCER
    assert send.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": topic,
        "messaging.message.body.size": 21,
        "otel_kfs.acknowledged": False,
    }


def test_every_line_is_a_record_and_a_trace_and_the_first_one_has_the_start(execute, kafka, topic):
    ran = execute(*producer(kafka, topic), input=b"one\r\ntwo\n\nfour\rlast")
    assert ran.code == 0
    values = [b"one", b"two", b"", b"four", b"last"]
    sends = sorted((span for span in ran.spans if span.name == f"send {topic}"), key=lambda span: span.start)
    expected = [(None, value, {"traceparent": traceparent(send)}) for value, send in zip(values, sends, strict=True)]
    assert records(kafka, topic, 5) == expected
    roots = {span.span_id: span for span in ran.spans if span.name == "send image"}
    of_sends = [roots[send.parent_id] for send in sends]
    assert [root.attributes["otel_kfs.sequence"] for root in of_sends] == [0, 1, 2, 3, 4]
    assert [root.attributes["otel_kfs.payload.size"] for root in of_sends] == [3, 3, 0, 4, 4]
    assert len({root.trace_id for root in of_sends}) == 5
    assert ran.span("start program").parent_id == of_sends[0].span_id
    assert [before.end <= after.start for before, after in itertools.pairwise(sends)] == [True] * 4
    assert ["process.exit.code" in root.attributes for root in of_sends] == [False] * 4 + [True]


def test_the_largest_line_of_the_measurement_arrives_whole(execute, kafka, topic, tmp_path):
    line = b"".join(b"%013d" % number for number in range(13_900_000 // 13))
    (tmp_path / "line").write_bytes(line)
    with (tmp_path / "line").open("rb") as source:
        ran = execute(*producer(kafka, topic, "--command-property", "max.request.size=100000000"), stdin=source)
    assert ran.code == 0
    ((key, value, headers),) = records(kafka, topic, 1)
    assert (key, value == line, headers) == (None, True, {"traceparent": traceparent(ran.span(f"send {topic}"))})


def test_the_users_keys_and_headers_stay(execute, kafka, topic):
    properties = [
        "parse.headers=true",
        "parse.key=true",
        "headers.delimiter=|",
        "headers.separator=;",
        "key.separator==",
    ]
    options = [word for value in properties for word in ("--reader-property", value)]
    ran = execute(*producer(kafka, topic, *options), input=b"a:1;traceparent:old;b:2|key=value=\n")
    assert ran.code == 0
    context = traceparent(ran.span(f"send {topic}"))
    assert records(kafka, topic, 1) == [(b"key", b"value=", {"traceparent": context, "a": b"1", "b": b"2"})]


def test_the_script_is_traced_as_the_class_is(execute, kafka, topic, tmp_path):
    for folder in ("bin", "libs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "libs" / "kafka-clients-4.3.1.jar").touch()
    script = tmp_path / "bin" / "kafka-console-producer.sh"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(kafka.tool(CLASS))} "$@"\n')
    script.chmod(0o755)
    ran = execute(str(script), "--bootstrap-server", kafka.bootstrap_servers, "--topic", topic, input=b"x\n")
    assert (ran.code, ran.stdout, ran.stderr) == (0, b"", b"")
    context = traceparent(ran.span(f"send {topic}"))
    assert records(kafka, topic, 1) == [(None, b"x", {"traceparent": context})]


def test_its_own_exit_code_and_messages_come_through(execute, kafka, topic):
    command = producer(kafka, topic, "--nonsense")
    plain = subprocess.run(command, check=False, capture_output=True, input=b"x\n")
    ran = execute(*command, input=b"x\n")
    assert (ran.code, ran.stdout, ran.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert ran.code == 1
    assert [(span.name, span.failed) for span in sorted(ran.spans, key=lambda span: span.name)] == [
        ("send image", True),
        (f"send {topic}", True),
        ("start program", True),
    ]


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], []])
def test_what_sends_nothing_runs_untraced(execute, kafka, arguments):
    command = kafka.tool(CLASS, *arguments)
    plain = subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL)
    assert execute(*command) == (plain.returncode, plain.stdout, plain.stderr, [])


def test_no_lines_are_no_traces(execute, kafka, topic):
    assert execute(*producer(kafka, topic)) == (0, b"", b"", [])


def in_shell(script, folder):
    """What becomes of a shell's script: exit code, standard output, standard error."""
    folder.mkdir()
    done = subprocess.run(
        ["bash", "-c", script],
        check=False,
        cwd=folder,
        capture_output=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("seed", range(2))
def test_what_arrives_is_what_arrives_untraced_but_for_the_header_that_exec_adds(kafka, tmp_path, seed):
    """With settings that come from a pipe, which the console producer alone can read, and the user's own headers."""
    drawn = random.Random(seed)
    own = ["baggage:user=1", "tracestate:vendor=1", "other:x", "empty:", "traceparents:y"]
    lines = []
    for number in range(6):
        headers = ",".join(drawn.sample(own, drawn.randrange(1, 4)))
        value = "".join(chr(drawn.choice([*range(33, 127), *range(192, 1024)])) for _ in range(drawn.randrange(50)))
        lines.append(f"{headers}\tkey {number}={value}")
    (tmp_path / "lines").write_text("\n".join([*lines, f"other:x\tkey=too long {'-' * 3000}"]), encoding="utf-8")
    options = ["--reader-property", "parse.headers=true", "--reader-property", "parse.key=true"]
    options += ["--reader-property", "key.separator==", "--command-config"]
    results = {}
    for side, exec_ in (("untraced", []), ("exec", EXEC)):
        topic = new_topic(kafka.bootstrap_servers)
        command = shlex.join([*exec_, *producer(kafka, topic, *options)])
        script = f"{command} <(echo max.request.size=2000) < ../lines"
        code, out, errors = in_shell(script, tmp_path / side)
        arrived = records(kafka, topic, 6)
        assert ["traceparent" in headers for _, _, headers in arrived] == [side == "exec"] * 6
        for _, _, headers in arrived:
            headers.pop("traceparent", None)
        results[side] = code, out, b"RecordTooLargeException" in errors, arrived
    assert results["exec"] == results["untraced"]


@pytest.mark.parametrize(
    "script",
    [
        "{ $PRODUCER --nonsense; cat; } < ../lines",
        "$PRODUCER --command-config /nowhere < ../lines",
        "$PRODUCER <&-",
        "$PRODUCER --reader-config <(echo parse.key=nonsense) < /dev/null",
    ],
)
def test_what_a_script_sees_of_it_is_what_it_sees_untraced(kafka, topic, tmp_path, script):
    (tmp_path / "lines").write_text("one\ntwo\n")
    command = producer(kafka, topic)
    untraced, traced = (
        in_shell(script.replace("$PRODUCER", shlex.join([*exec_, *command])), tmp_path / side)
        for side, exec_ in (("untraced", []), ("exec", EXEC))
    )
    errors = [line for line in traced[2].splitlines(keepends=True) if not line.startswith(b"WARNING otel_kfs")]
    assert (*traced[:2], DATES.sub(b"", b"".join(errors))) == (*untraced[:2], DATES.sub(b"", untraced[2]))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_program_that_waits_for_lines(kafka, topic, tmp_path, number):
    command = [*EXEC, *producer(kafka, topic)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        running.stdin.write(b"first\nsecond\n")
        running.stdin.flush()
        # The first record's arrival says that the program runs; its standard input stays open.
        assert records(kafka, topic, 2)[0][1] == b"first"
        os.kill(running.pid, number)
        errors = running.stderr.read()
        assert running.wait(LIMIT) == 128 + number
    assert b"Traceback" not in errors
    roots = [span for span in query.spans(str(tmp_path / "spans.jsonl")) if span.name == "send image"]
    assert [root.attributes.get("process.exit.code") for root in sorted(roots, key=lambda span: span.start)] == [
        None,
        128 + number,
    ]
