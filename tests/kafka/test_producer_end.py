"""Programs that end with records under way: each span ends once, and says what is known."""

import signal

from support import ERROR, read_traces, run_python

START = """
import logging, otel_kfs
from otel_kfs.kafka import Producer
otel_kfs.configure("a-service", traces_file="spans.jsonl")
quiet = logging.getLogger("quiet"); quiet.setLevel(100)
producer = Producer({"bootstrap.servers": "127.0.0.1:9", "logger": quiet})
"""


def ended(tmp_path):
    return [
        (span.name, span.status, span.attributes.get("error.type")) for span in read_traces(tmp_path / "spans.jsonl")
    ]


def test_records_without_a_report_are_abandoned_at_the_end(tmp_path):
    assert run_python(START + "producer.produce('t', b'1'); producer.produce('t', b'2')").returncode == 0
    assert ended(tmp_path) == [("send t", ERROR, "abandoned")] * 2


def test_so_they_are_after_sigterm(tmp_path):
    script = START + "import os, signal; producer.produce('t', b'1'); os.kill(os.getpid(), signal.SIGTERM); input()"
    assert run_python(script).returncode == -signal.SIGTERM
    assert ended(tmp_path) == [("send t", ERROR, "abandoned")]


def test_a_dropped_producer_s_spans_are_not_ended_again_at_the_end(tmp_path):
    script = START + "import gc; producer.produce('t', b'1'); del producer; gc.collect()"
    assert run_python(script).returncode == 0
    assert ended(tmp_path) == [("send t", ERROR, "abandoned")]


def test_what_was_reported_before_the_end_stays_as_it_was(tmp_path, broker, topic):
    script = START.replace('"127.0.0.1:9"', repr(broker)) + (
        f"producer.produce({topic!r}, b'1'); producer.flush(); producer.produce({topic!r}, b'2')"
    )
    assert run_python(script).returncode == 0
    # The second one may have reached the broker, but nobody was told.
    assert ended(tmp_path) == [(f"send {topic}", 0, None), (f"send {topic}", ERROR, "abandoned")]
