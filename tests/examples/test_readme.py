"""The README's commands and snippets, as they stand there: typed against a model server that is not traced."""

import re
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest
from support import LIMIT, PHOTO, HttpServer, read_traces, start, wait_until

README = Path(__file__).parents[2] / "README.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
MODEL, BROKER = "localhost:8080", "localhost:9092"


@pytest.fixture
def server():
    """The model server, and a picture in the current folder."""
    Path("examples/mobilenet/photos").mkdir(parents=True)
    shutil.copy(PHOTO, "examples/mobilenet/photos/chelsea.jpg")
    shutil.copy(PHOTO, "cat.jpg")
    with HttpServer().running() as server:
        yield server


def command(beginning):
    """The first line of README's section on the first result that begins so, as arguments."""
    _, _, text = re.sub(r"\\\n *", "", README.read_text()).partition("## The first result")
    return shlex.split(re.search(rf"^    ({re.escape(beginning)}.*?)$", text, re.M)[1])


def typed(arguments, server):
    """What a command of ours printed, on both streams, with the model server in the place of the README's."""
    arguments = [argument.replace(MODEL, f"127.0.0.1:{server.port}") for argument in arguments]
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "", "COLUMNS": "80"}
    with start([sys.executable, "-m", "otel_kfs.cli", *arguments[1:]], **nobody) as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    return re.sub(r"\d+\.\d+", "#", output), re.sub(r"\d+\.\d+", "#", errors)


def test_the_first_result_of_a_stranger_s_server(server):
    answers, summary = typed(command("otel-kfs send"), server)
    assert answers == '{"file":"examples/mobilenet/photos/chelsea.jpg","ms":#,"predictions":[1]}\n' * 20
    assert summary.splitlines()[0] == "20 sent over HTTP: p50 # ms, max # ms; none failed"
    tables, _ = typed(command("otel-kfs tables"), server)
    segments = tables[tables.index("HTTP: segments") :].split("\n\n")[0]
    rows = [line.split("  ")[0] for line in segments.splitlines()[2:] if "#" in line]
    assert rows == ["client", "encode", "upload", "server (untraced)", "total (4-1)"]


def test_the_sender(server):
    assert run(SNIPPETS[0], server=server) == ("{'predictions': [1]}\n", "")
    assert [span.name for span in read_traces(Path("spans.jsonl"))] == ["send image", "encode", "POST", "upload"]


@pytest.mark.kafka
def test_kafka_s_two_ends(server, broker, topic):
    assert run(SNIPPETS[1], server=server, broker=broker, topic=topic) == ("", "")
    with started(SNIPPETS[2], server=server, broker=broker, topic=topic) as consumer:
        assert consumer.stdout.readline() == "{'predictions': [1]}\n"
        # A signal within the few microseconds of a span's end would lose it.
        wait_until("the consumer's spans are written", lambda: len(read_traces(Path("spans.jsonl"))) == 3)
        consumer.send_signal(signal.SIGINT)
        assert consumer.wait(60) == -signal.SIGINT
    assert [request.body for request in server.requests] == [b'{"instances": [1]}']
    sent, processed, posted = read_traces(Path("spans.jsonl"))
    names = [span.name for span in (sent, processed, posted)]
    assert names == [f"send {topic}", f"process {topic}", "POST"]
    assert [processed.parent_id, posted.parent_id] == [sent.span_id, processed.span_id]


def started(snippet, *, server, broker="", topic="mobilenet"):
    """A snippet in a process of its own, with addresses of this machine."""
    snippet = snippet.replace(MODEL, f"127.0.0.1:{server.port}").replace(BROKER, broker)
    snippet = snippet.replace('"mobilenet", value', f'"{topic}", value').replace('(["mobilenet"])', f'(["{topic}"])')
    # The embedded broker's groups are quick with a short session alone.
    snippet = snippet.replace('"group.id"', '"session.timeout.ms": 6000, "fetch.wait.max.ms": 10, "group.id"')
    return start(
        [sys.executable, "-u", "-c", snippet], OTEL_KFS_TRACES_FILE="spans.jsonl", OTEL_BSP_SCHEDULE_DELAY="100"
    )


def run(snippet, **places):
    """What a snippet printed, on both streams."""
    with started(snippet, **places) as process:
        return process.communicate(timeout=LIMIT)
