"""The example's own scripts, run as its reader would: sender and consumer, with real servers and a real broker."""

import re
import sys
from pathlib import Path

import pytest
from support import CAT, EXAMPLE, LIMIT, PHOTO, read_traces, start

pytestmark = [pytest.mark.model, pytest.mark.kafka]


def run(script: str, *arguments: str) -> str:
    """What the script prints; its spans go to a file of its name."""
    command = [sys.executable, str(EXAMPLE / script), *arguments]
    with start(command, OTEL_KFS_TRACES_FILE=f"traces/{script}.jsonl") as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    return output


def classes(output: str) -> list[int]:
    return [int(number) for number in re.findall(r"'class': (\d+)", output)]


def test_the_sender_prints_the_model_s_answer(mobilenet):
    assert classes(run("sender.py", "--url", mobilenet, str(PHOTO))) == [CAT]


def test_sender_and_consumer_carry_the_cat_both_ways_in_one_trace_each(mobilenet, broker, topic):
    sent = run("sender.py", "--url", mobilenet, "--bootstrap-servers", broker, "--topic", topic, str(PHOTO))
    url = f"{mobilenet}/v1/models/mobilenet:predict"
    consumed = run("consumer.py", "--bootstrap-servers", broker, "--topic", topic, "--url", url, "--records", "1")
    assert (classes(sent), classes(consumed)) == ([CAT], [CAT])
    spans = read_traces(Path("traces"))
    (send,) = [span for span in spans if span.name == f"send {topic}"]
    (process,) = [span for span in spans if span.name == f"process {topic}"]
    assert (process.trace_id, process.parent_id) == (send.trace_id, send.span_id)
    assert (send.service, process.service) == ("image-sender", "image-consumer")
    assert [span.service for span in spans if span.name == "POST"] == ["image-sender", "image-consumer"]
