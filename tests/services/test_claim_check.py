"""The claim check on a real S3-compatible store: the picture goes there, its reference to the model or the topic."""

import json
import signal
import sys
from pathlib import Path

import boto3
import pytest
from support import CAT, CLIENT, JPG, LIMIT, PHOTO, read_traces, start

from otel_kfs import ClaimStore, HttpSender
from otel_kfs.errors import InputError, SendError

sys.path.insert(0, str(Path(__file__).parents[2] / "deploy" / "services"))

import services

pytestmark = pytest.mark.services

BUCKET = "images"


@pytest.fixture(scope="module")
def s3():
    with services.s3(buckets=[BUCKET, "private"]) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=running.url, region_name="us-east-1")
        client.put_object(Bucket="private", Key="otel-kfs/secret", Body=b"secret")
        client.put_object(Bucket=BUCKET, Key="secret", Body=b"secret")
        yield running


@pytest.fixture
def store(s3):
    return ClaimStore(BUCKET, endpoint_url=s3.url)


def test_what_was_put_is_fetched_by_its_reference(store):
    reference = store.put(JPG, "image/jpeg")
    assert (sorted(reference), reference["bucket"], store.fetch(reference)) == (["bucket", "key"], BUCKET, JPG)


def test_two_images_are_two_objects(store):
    assert store.put(JPG, "image/jpeg") != store.put(JPG, "image/jpeg")


def test_the_payload_is_the_reference(store):
    body, headers = store.encoding.encode(JPG, "image/jpeg")
    (instance,) = json.loads(body)["instances"]
    assert (store.fetch(instance["image_ref"]), headers) == (JPG, {"content-type": "application/json"})


@pytest.mark.parametrize(
    "reference",
    [
        {"bucket": "private", "key": "otel-kfs/secret"},
        {"bucket": BUCKET, "key": "secret"},
        {"bucket": BUCKET},
        {"key": "otel-kfs/secret"},
        {"bucket": BUCKET, "key": 1},
        {},
        [],
        "images/secret",
        None,
    ],
)
def test_a_reference_leads_nowhere_but_to_images_of_this_bucket(store, s3, reference):
    with pytest.raises(InputError) as raised:
        store.fetch(reference)
    assert str(raised.value) == f"not a reference to an image in bucket {BUCKET} at {s3.url}"


def test_an_image_that_is_gone_is_named(store, s3):
    with pytest.raises(InputError) as raised:
        store.fetch({"bucket": BUCKET, "key": "otel-kfs/gone"})
    assert str(raised.value) == f"no image otel-kfs/gone in bucket {BUCKET} at {s3.url}"


@pytest.mark.parametrize(
    ("bucket", "url", "reason"),
    [("no-such", None, "NoSuchBucket"), (BUCKET, "http://127.0.0.1:9", "Could not connect to the endpoint")],
)
def test_a_store_that_does_not_take_the_image_is_one_line(s3, bucket, url, reason):
    sender = HttpSender("http://127.0.0.1:9", encoding=ClaimStore(bucket, endpoint_url=url or s3.url).encoding)
    with pytest.raises(SendError, match=rf"^can't store the image in bucket {bucket} at .*{reason}") as raised:
        sender.send(JPG)
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith("; check the bucket, the endpoint and the AWS_... credentials")


@pytest.fixture(scope="module")
def transformer(s3, serving, model, cache, tmp_path_factory):
    """The URL of a fast transformer that reads references, and its folder of traces."""
    from otel_kfs.demo.model_servers import start_serving
    from otel_kfs.demo.processes import Processes

    assert model.exists()
    folder = tmp_path_factory.mktemp("claims")
    more = ["--bucket", BUCKET, "--store_url", s3.url]
    with pytest.MonkeyPatch.context() as patch, Processes(folder / "logs") as processes:
        patch.setenv("OTEL_KFS_CACHE", str(cache))
        yield start_serving(processes, serving, folder / "traces", fast=True, more=more)[0], folder / "traces"


def best(answer):
    return answer["predictions"][0]["class"]


def send(*options, s3):
    """What `otel-kfs send --encoding claim-check` prints; its spans go to traces/sender.jsonl."""
    command = [sys.executable, "-m", "otel_kfs.cli", "-q", "send", "--encoding", "claim-check", "--bucket", BUCKET]
    command += ["--store-url", s3.url, "--traces-file", "traces/sender.jsonl", *options, "--image", str(PHOTO)]
    with start(command) as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    return json.loads(output)


def store_calls(traces):
    return sorted((span.service, span.name) for span in traces if span.kind == CLIENT and "S3" in span.name)


@pytest.mark.model
@pytest.mark.demo
def test_over_http_the_model_gets_the_picture_that_the_store_holds(s3, transformer):
    url, traces = transformer
    assert best(send("--transport", "http", "--url", url, "--model", "mobilenet", s3=s3)) == CAT
    sent = read_traces(Path("traces"))
    (root,) = [span for span in sent if span.name == "send image"]
    assert root.attributes["otel_kfs.encoding"] == "claim-check"
    assert int(root.attributes["otel_kfs.payload.size"]) < 200
    assert store_calls(sent) == [("image-sender", "S3.PutObject")]
    HttpSender(url, model="mobilenet").send(PHOTO)  # once it has answered another request, its spans are there
    fetched = [span for span in read_traces(traces) if span.trace_id == root.trace_id]
    assert store_calls(fetched) == [("mobilenet-transformer-fast", "S3.GetObject")]


@pytest.mark.model
@pytest.mark.demo
@pytest.mark.kafka
@pytest.mark.analysis
def test_an_experiment_s_embedded_servers_fetch_from_the_store(s3, serving, model, cache):
    Path("experiment.toml").write_text(
        f'images = ["{PHOTO}"]\nrepeat = 2\nwarmups = 1\n[servers]\nembedded = true\nbucket = "{BUCKET}"\n'
        f'store_url = "{s3.url}"\n[matrix]\nway = ["fast"]\ntransport = ["http", "kafka"]\n'
        'encoding = ["cloudevent", "claim-check"]\n'
    )
    command = [sys.executable, "-m", "otel_kfs.cli", "-q", "experiment", "experiment.toml", "-o", "run"]
    with start([*command, "--format", "json"], OTEL_KFS_CACHE=str(cache)) as process:
        output, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    assert {(one["transport"], one["cell"], one["n"]) for one in json.loads(output)["ranking"]} == {
        (transport, cell, 2) for transport in ("http", "kafka") for cell in ("cloudevent", "claim-check")
    }
    traces = read_traces(Path("run/traces"))
    claims = {
        span.trace_id
        for span in traces
        if span.name == "send image" and span.attributes["otel_kfs.encoding"] == "claim-check"
    }
    assert len(claims) == 2 * 3
    calls = store_calls(traces)
    assert calls == store_calls([span for span in traces if span.trace_id in claims])
    assert calls == [("image-sender", "S3.PutObject")] * 6 + [("mobilenet-transformer-fast", "S3.GetObject")] * 6


@pytest.mark.model
@pytest.mark.demo
def test_a_reference_to_nothing_is_the_client_s_mistake(transformer):
    gone = b'{"instances": [{"image_ref": {"bucket": "images", "key": "otel-kfs/gone"}}]}'
    with pytest.raises(SendError, match="no image otel-kfs/gone in bucket images") as raised:
        HttpSender(transformer[0], model="mobilenet").send_json(gone)
    assert raised.value.status == 400


@pytest.mark.model
@pytest.mark.demo
@pytest.mark.kafka
def test_through_kafka_the_record_is_the_reference(s3, transformer, broker, topic):
    from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS

    url, _ = transformer
    send("--transport", "kafka", "--bootstrap-servers", broker, "--topic", topic, s3=s3)
    Path("consumer.properties").write_text("".join(f"{key}={value}\n" for key, value in CONSUMER_SETTINGS.items()))
    command = [sys.executable, "-m", "otel_kfs.cli", "bridge", "--bootstrap-servers", broker, "--topic", topic]
    command += ["--url", url, "--model", "mobilenet", "--consumer-config", "consumer.properties"]
    with start([*command, "--traces-file", "traces/bridge.jsonl"], PYTHONUNBUFFERED="1") as bridge:
        line = json.loads(bridge.stdout.readline())
        bridge.send_signal(signal.SIGINT)
        bridge.communicate(timeout=LIMIT)
    assert best(line["answer"]) == CAT
    (sent,) = [span for span in read_traces(Path("traces")) if span.name == f"send {topic}"]
    assert int(sent.attributes["messaging.message.body.size"]) < 200
