"""The real transformer, with records that no model can answer, and with a predictor that dies and comes back."""

import base64
import io
import json
import signal
from pathlib import Path

import confluent_kafka
import pytest
from faults_bridge_support import bridges, committed, wait_for_lines
from PIL import Image
from support import PHOTO, new_topic, read_traces, wait_until

from otel_kfs.demo.model_servers import child_environment, is_ready, start_serving
from otel_kfs.demo.processes import Processes

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.model, pytest.mark.timeout(900)]


def picture(content: bytes) -> bytes:
    return json.dumps({"instances": [{"image_bytes": {"b64": base64.b64encode(content).decode()}}]}).encode()


def bomb() -> bytes:
    """A JPG of 2 MB that is 400 million pixels: 1.2 GB, once decoded."""
    content = io.BytesIO()
    Image.new("L", (20_000, 20_000)).save(content, "JPEG", quality=1)
    return content.getvalue()


POISON = {
    "not JSON": b"{",
    "not text": b"\xff\xfe\x00",
    "empty": b"",
    "tombstone": None,
    "JSON of another kind": b'{"instances": 1}',
    "a number": b"1",
    "not base64": b'{"instances": [{"image_bytes": {"b64": "***"}}]}',
    "not an image": picture(b"no picture"),
    "half a picture": picture(PHOTO.read_bytes()[:3000]),
    "nested too deep": b"[" * 1_000_000,
}


@pytest.fixture(scope="module")
def producer(kafka):
    made = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap_servers, "message.max.bytes": 104_000_000})
    yield made
    made.flush()


@pytest.fixture
def topics(kafka):
    servers = kafka.bootstrap_servers
    return new_topic(servers, **{"max.message.bytes": "104857600"}), new_topic(
        servers, **{"max.message.bytes": "104857600"}
    )


def parked(kafka, dead, count):
    """Each dead letter's value and headers."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader", "fetch.message.max.bytes": 104_000_000}
    )
    consumer.assign([confluent_kafka.TopicPartition(dead, 0, 0)])
    found = []
    wait_until("the dead letters", lambda: len(found) >= count or found.extend(consumer.consume(count, 0.5)))
    consumer.close()
    return [(record.value(), dict(record.headers())) for record in found]


def peak_megabytes(pid: int) -> int:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


def test_poison_is_parked_with_its_reason_and_the_pictures_between_are_answered(
    kafka, mobilenet, topics, producer, tmp_path
):
    topic, dead = topics
    good = picture(PHOTO.read_bytes())
    for value in POISON.values():
        producer.produce(topic, value)
        producer.produce(topic, good)
    producer.flush()
    url = f"{mobilenet}/v1/models/mobilenet:predict"
    with bridges(kafka.bootstrap_servers, topic, url, tmp_path, group=topic) as start_bridge:
        bridge = start_bridge("--dead-letter-topic", dead, "--retries", "1", OTEL_KFS_TRACES_FILE="traces.jsonl")
        wait_for_lines(2 * len(POISON), bridge)
        assert bridge.end(signal.SIGTERM) == 143
    assert [line["outcome"] for line in bridge.told] == ["dead-lettered", "answered"] * len(POISON)
    assert committed(kafka.bootstrap_servers, topic, group=topic) == [2 * len(POISON)]
    letters = parked(kafka, dead, len(POISON))
    assert [value for value, _ in letters] == list(POISON.values())
    statuses = dict(zip(POISON, [headers["otel_kfs.errors.status"] for _, headers in letters], strict=True))
    # These two break KFServing's own JSON reading, which calls that its own fault.
    servers_fault = {name: statuses.pop(name) for name in ("not text", "nested too deep")}
    assert set(servers_fault.values()) <= {b"400", b"500"}
    assert set(statuses.values()) == {b"400"}
    processed = [span for span in read_traces(tmp_path / "traces.jsonl") if span.name == f"process {topic}"]
    assert [(span.status, span.attributes["otel_kfs.outcome"]) for span in processed] == [
        (2, "dead-lettered"),
        (0, "answered"),
    ] * len(POISON)


def test_a_decompression_bomb_is_parked(kafka, mobilenet, topics, producer, tmp_path):
    topic, dead = topics
    producer.produce(topic, picture(bomb()))
    producer.produce(topic, picture(PHOTO.read_bytes()))
    producer.flush()
    url = f"{mobilenet}/v1/models/mobilenet:predict"
    with bridges(kafka.bootstrap_servers, topic, url, tmp_path, group=topic) as start_bridge:
        bridge = start_bridge("--dead-letter-topic", dead, "--retries", "0")
        wait_for_lines(2, bridge)
    assert [line["outcome"] for line in bridge.told] == ["dead-lettered", "answered"]
    assert "400" in bridge.told[0]["refused"]


def test_records_of_nearly_100_mb_are_parked_and_memory_stays_bounded(kafka, mobilenet, topics, producer, tmp_path):
    topic, dead = topics
    big = b'{"instances": [{"image_bytes": {"b64": "' + b"A" * 99_000_000 + b'"}}]}'
    for _ in range(2):
        producer.produce(topic, big)
        producer.flush()
    producer.produce(topic, picture(PHOTO.read_bytes()))
    producer.flush()
    url = f"{mobilenet}/v1/models/mobilenet:predict"
    with bridges(kafka.bootstrap_servers, topic, url, tmp_path, group=topic) as start_bridge:
        bridge = start_bridge("--dead-letter-topic", dead, "--retries", "0")
        wait_until("all records", lambda: len(bridge.told) == 3)
        peak = peak_megabytes(bridge.process.pid)
    assert [line["outcome"] for line in bridge.told] == ["dead-lettered", "dead-lettered", "answered"]
    # The record in hand, its copy on the way to the dead-letter topic, and what librdkafka has fetched ahead.
    assert peak < 1000


def test_a_predictor_that_is_killed_and_comes_back_answers_what_came_meanwhile(
    kafka, serving, model, cache, topics, producer, tmp_path, monkeypatch
):
    assert model.exists()
    monkeypatch.setenv("OTEL_KFS_CACHE", str(cache))
    topic, _ = topics
    traces = tmp_path / "traces"
    with Processes(tmp_path / "logs") as processes:
        transformer, predictor = start_serving(processes, serving, traces)
        url = f"{transformer}/v1/models/mobilenet:predict"
        with bridges(kafka.bootstrap_servers, topic, url, tmp_path, group=topic) as start_bridge:
            bridge = start_bridge("--retries", "1000", "--retry-for", "300")
            producer.produce(topic, picture(PHOTO.read_bytes()))
            producer.flush()
            wait_for_lines(1, bridge)
            killed = dict(processes._running)["predictor"]
            killed.kill()
            killed.wait()
            producer.produce(topic, picture(PHOTO.read_bytes()))
            producer.flush()
            wait_until("a failure", lambda: any("the model does not answer" in line for line in bridge.errors))
            processes.start("predictor again", killed.args, child_environment(traces, "mobilenet-predictor"))
            wait_until("the predictor", lambda: is_ready(predictor))
            wait_for_lines(2, bridge)
            assert bridge.end(signal.SIGTERM) == 143
    before, after = bridge.told
    assert (before["outcome"], before["requests"], before["attempt"]) == ("answered", 1, 1)
    assert (after["outcome"], after["attempt"], after["answer"]) == ("answered", 1, before["answer"])
    assert after["requests"] > 1
    assert committed(kafka.bootstrap_servers, topic, group=topic) == [2]
