"""The demo as its user runs it: its tables, its traces, and nothing left behind; and the cat, both ways."""

import json
import re
import signal
import sys
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest
from demo_support import MARK, addresses_until_the_end, processes_of
from jaeger_support import critical_path
from support import CAT, LIMIT, PHOTO, SERVER, Written, read_traces, start, wait_until

from otel_kfs.analysis.corrected_measurement import read
from otel_kfs.report.answer import answer
from otel_kfs.report.segment_names import segment_name

pytestmark = [pytest.mark.demo, pytest.mark.model, pytest.mark.timeout(600)]

SIZES = ("1.1MB", "3.3MB", "4.7MB", "10.2MB")


def demo(*options: str, mark: str, cache: Path) -> Popen[str]:
    return start([sys.executable, "-m", "otel_kfs.cli", "demo", *options], OTEL_KFS_CACHE=str(cache), **{MARK: mark})


@dataclass
class Run:
    """What one whole run of the demo left."""

    exit_code: int
    output: str
    errors: str
    spans: list[Written]
    addresses: set[str]
    left_behind: set[int]
    traces: Path


@pytest.fixture(scope="module")
def run(serving, model, big_pictures, cache, tmp_path_factory):
    folder, mark = tmp_path_factory.mktemp("demo") / "run", uuid.uuid4().hex
    with demo("--repeat", "1", "-o", str(folder), mark=mark, cache=cache) as process:
        addresses = addresses_until_the_end(process, mark)
        output, errors = process.communicate()
    traces = folder / "traces"
    return Run(process.returncode, output, errors, read_traces(traces), addresses, processes_of(mark), traces)


def test_the_demo_ends_well(run):
    assert (run.exit_code, "Error" in run.errors) == (0, False), run.errors


def test_each_table_has_all_four_sizes_for_both_ways(run):
    headings = re.findall(r"^(HTTP|Kafka): (.*?),? *(?:milliseconds)? *$", run.output, re.M)
    assert {way for way, _ in headings} == {"HTTP", "Kafka"}
    rows = Counter(re.findall(r"^(\d+\.\dMB) ", run.output, re.M))
    # A bar each way, and rows of two tables: unix times, and their differences.
    assert rows == dict.fromkeys(SIZES, 6)
    for size in SIZES:
        assert len(re.findall(rf"^Segment .*\b{re.escape(size)} p50", run.output, re.M)) == 2


def test_it_ends_with_the_answer(run):
    sentence = answer(read(str(run.traces), processes=1)).sentence
    assert run.output.rstrip().split("\n\n")[-1].split() == sentence.split()


def test_no_image_is_left_out_but_the_warm_ups(run):
    assert re.search(r"^8 images measured; 16 left out: warm-up$", run.output, re.M), run.output


def test_each_image_is_one_trace_through_every_service_on_its_way(run):
    ways = {}
    for root in run.spans:
        if root.name == "send image":
            assert root.parent_id == ""
            ways[root.trace_id] = root.attributes["otel_kfs.transport"]
    assert Counter(ways.values()) == {"http": 12, "kafka": 12}
    servers = {"mobilenet-transformer", "mobilenet-predictor"}
    for trace_id, way in ways.items():
        spans = [span for span in run.spans if span.trace_id == trace_id]
        bridge = {"kafka-bridge"} if way == "kafka" else set()
        assert {span.service for span in spans} == {"image-sender", *servers, *bridge}
        assert sorted(span.service for span in spans if span.kind == SERVER) == sorted(servers)


# What Jaeger gives to a span whose time has no step of its own, and the segments that tell it more finely.
COARSER = {
    ("image-sender", "send image"): ["client"],
    ("image-sender", "POST"): ["transformer request", "transformer", "transformer serialise", "transformer response"],
    ("mobilenet-transformer", "POST"): ["predictor request", "predictor", "predictor response"],
}
SAME_TIME = {
    ("mobilenet-transformer", "server"): ("image-sender", "POST"),
    ("mobilenet-transformer", "predict"): ("image-sender", "POST"),
    ("mobilenet-predictor", "server"): ("mobilenet-transformer", "POST"),
}


def test_jaeger_s_critical_path_names_what_the_segments_name(run):
    measured = read(str(run.traces), processes=1)
    (images,) = [one for one in measured.series if (one.labels.transport, one.size) == ("http", "10.2MB")]
    ours = {segment_name(one): durations.values[0] for one, durations in images.segments.items()}
    spans = [span for span in run.spans if span.trace_id == images.trace_ids[0]]
    shown = Counter()
    for (service, name), time in critical_path(spans).items():
        step = service, "server" if ":predict" in name else name
        shown[SAME_TIME.get(step, step)] += time
    expected = Counter({own: sum(ours.pop(name, 0) for name in names) // 1000 for own, names in COARSER.items()})
    for name, time in ours.items():
        process, _, step = name.partition(" ")
        own = (f"mobilenet-{process}", step) if step else ("image-sender", process)
        expected[own] += time // 1000
    assert expected.keys() == shown.keys()
    # Each edge is cut off to a microsecond.
    assert {own: shown[own] - expected[own] for own in shown if abs(shown[own] - expected[own]) > len(spans)} == {}


def test_everything_listens_on_the_loopback_only(run):
    assert "127.0.0.1" in run.addresses
    assert run.addresses <= {"127.0.0.1", "::1"}


def test_nothing_is_left_running(run):
    assert run.left_behind == set()


def test_ctrl_c_in_mid_run_ends_everything_with_130(serving, model, big_pictures, cache, tmp_path):
    mark = uuid.uuid4().hex
    with demo("--repeat", "500", "-o", "run", mark=mark, cache=cache) as process:
        wait_until("the first image", lambda: read_traces(tmp_path / "run" / "traces" / "image-sender.jsonl"))
        assert len(processes_of(mark)) > 4
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors.splitlines()[-1]) == (130, "stopped")
    assert processes_of(mark) == set()


def test_the_cat_is_a_cat_over_http(mobilenet):
    from otel_kfs import HttpSender

    (answer,) = HttpSender(mobilenet, model="mobilenet").send(PHOTO)["predictions"]
    assert answer["class"] == CAT


def test_the_cat_is_a_cat_through_kafka_and_the_bridge_prints_it(mobilenet, broker, topic):
    from otel_kfs import KafkaSender
    from otel_kfs.demo.embedded_broker import CONSUMER_SETTINGS

    place = KafkaSender(broker, topic).send(PHOTO)
    Path("consumer.properties").write_text("".join(f"{key}={value}\n" for key, value in CONSUMER_SETTINGS.items()))
    command = [sys.executable, "-m", "otel_kfs.cli", "bridge", "--bootstrap-servers", broker, "--topic", topic]
    command += ["--url", mobilenet, "--model", "mobilenet", "--consumer-config", "consumer.properties"]
    environment = {"PYTHONUNBUFFERED": "1", "OTEL_KFS_POLL_SPANS": "true"}
    with start([*command, "--traces-file", "bridge.jsonl"], **environment) as bridge:
        line = json.loads(bridge.stdout.readline())
        bridge.send_signal(signal.SIGINT)
        bridge.communicate(timeout=LIMIT)
    assert (line["topic"], line["partition"], line["offset"], line["refused"]) == (*place, None)
    assert line["answer"]["predictions"][0]["class"] == CAT
    found = [span.name for span in read_traces(Path("bridge.jsonl"))]
    assert found == [f"poll {topic}", f"process {topic}", "POST", "upload"]
