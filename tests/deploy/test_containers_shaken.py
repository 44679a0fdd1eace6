"""What only containers have: killed and started again, no network, no memory, no room; what was sent is measured."""

import json
import re
import time

import pytest
from container_tools import (
    COMPOSE_FILE,
    IMAGES,
    JAEGER,
    REPEAT,
    beside,
    collector_files,
    is_whole,
    send,
    tables,
    wait_for,
    whole,
)

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

# So long is a network away.
AWAY = 20
EXPORTERS = ["sender-kafka", "bridge", "transformer", "predictor"]
# Records that a bridge with one worker holds: their first delivery's spans end with it, should it be killed.
UNDER_WAY = 2
SIZES = {image.removesuffix(".jpg") for image in IMAGES}


def send_during(compose, run, fault):
    """Send every picture through Kafka, let something fail after the first one, and read what was measured."""
    compose.start_sender("sender-kafka", RUN_ID=run, REPEAT="1")
    wait_for(lambda: compose.logs("sender-kafka"), bool)
    fault()
    assert compose.wait_for_end("sender-kafka") == 0
    summary = compose.logs("sender-kafka").splitlines()[-1]
    assert re.fullmatch(rf"{len(IMAGES)} sent to Kafka, .*; none failed", summary)
    return whole(run, len(IMAGES))


def every_image(found):
    """Whether each picture was measured, and nothing else left out than what a killed bridge had under way."""
    measured = {row["size"] for row in found["seed"]} == SIZES and found["account"]["measured"] >= len(IMAGES)
    return measured and sum(found["account"]["left_out"].values()) <= UNDER_WAY


@pytest.mark.parametrize("service", ["bridge", "kafka", "transformer"])
def test_a_service_that_is_killed_and_started_again_costs_no_image(compose, service):
    def fault():
        compose.kill(service)
        if service != "bridge":
            compose.wait_until_healthy(service)

    assert every_image(send_during(compose, f"killed-{service}", fault))


@pytest.mark.parametrize("service", ["bridge", "kafka"])
def test_a_network_that_is_away_for_a_while_costs_no_image_and_no_span(compose, tmp_path, service):
    def fault():
        with compose.without_network(service):
            time.sleep(AWAY)

    run = f"away-{service}"
    send_during(compose, run, fault)
    assert_every_span_is_in_both(compose, tmp_path, run)


def assert_every_span_is_in_both(compose, folder, run):
    """Assert that Jaeger and the Collector's file have every picture of a run, and that nobody has lost a span."""

    def from_both():
        return [tables(query, run) for query in (JAEGER, collector_files(compose, folder))]

    found, _ = wait_for(from_both, lambda both: both[0] == both[1] and is_whole(both[0], len(IMAGES)))
    assert every_image(found)
    assert found["account"]["left_out"] == {}
    assert [each for each in EXPORTERS if "not exported" in compose.logs(each)] == []


def test_a_collector_whose_network_is_away_for_a_while_costs_no_span_of_what_goes_on(compose, tmp_path):
    run = "away-collector"
    compose.engine.run("stop", "--time", "60", compose.container("bridge"))
    # A sender that ends meanwhile does not wait so long: this one has sent, and exported, before.
    compose.start_sender("sender-kafka", RUN_ID=run, REPEAT="1")
    assert compose.wait_for_end("sender-kafka") == 0
    with compose.without_network("collector"):
        compose.engine.run("start", compose.container("bridge"))
        time.sleep(AWAY)
    assert_every_span_is_in_both(compose, tmp_path, run)


def test_a_sender_that_ends_while_the_collectors_network_is_away_says_what_it_could_not_export(compose):
    with compose.without_network("collector"):
        lines = send(compose, "unheard", "--env=OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318")
    found = lines_of(lines, r" 12 of 12 spans were not exported to http://collector:4318/v1/traces: ")
    assert found == (["1.1MB.jpg"] * 3, 1, 1)


def test_a_bridge_that_the_kernel_kills_for_its_memory_is_started_again_and_costs_no_image(compose):
    # A new one needs some 40 MB by itself, and the largest record 13.9 MB, more than once.
    compose.engine.run("stop", compose.container("bridge"))
    compose.engine.run("start", compose.container("bridge"))
    compose.limit_memory("bridge", 56)
    before = compose.restarts("bridge")

    def fault():
        wait_for(lambda: compose.restarts("bridge"), lambda restarts: restarts > before)
        compose.limit_memory("bridge", 1024)

    try:
        found = send_during(compose, "no-memory", fault)
    finally:
        compose.limit_memory("bridge", 1024)
    assert every_image(found)


def test_a_collector_that_is_killed_keeps_every_span_that_it_has_acknowledged(compose, tmp_path):
    compose.start_sender("sender-kafka", RUN_ID="killed-collector", REPEAT=str(REPEAT))
    wait_for(lambda: compose.logs("sender-kafka"), bool)
    compose.kill("collector")
    assert compose.wait_for_end("sender-kafka") == 0
    images = len(IMAGES) * REPEAT
    found = wait_for(
        lambda: tables(collector_files(compose, tmp_path), "killed-collector"), lambda found: is_whole(found, images)
    )
    # A group that has lost a member before may hand a record over again; that is not the Collector's doing.
    assert (found["account"]["measured"], found["account"]["left_out"]) == (images, {})


@pytest.fixture
def full_collector(compose):
    """The address of a Collector like that of compose.yaml, whose volume has one page."""
    mounts = ["--tmpfs=/traces:size=4k", f"--volume={COMPOSE_FILE.parent}/collector.yaml:/etc/collector.yaml:ro"]
    options = ["--detach", "--name=full", "--user=0:0", "--cap-drop=all", *mounts]
    options += ["--env=JAEGER_OTLP_ENDPOINT=jaeger:4317", "--env=TEMPO_OTLP_ENDPOINT=tempo:4317"]
    compose.engine.run(*beside(compose, "collector", *options), "--config=/etc/collector.yaml")
    yield f"http://{compose.address('full')}:4318"
    compose.engine.run("rm", "--force", "full")


def test_a_collector_whose_volume_is_full_has_its_senders_say_so(compose, full_collector):
    settings = [f"--env=OTEL_EXPORTER_OTLP_ENDPOINT={full_collector}", "--env=OTEL_EXPORTER_OTLP_TIMEOUT=3"]
    lines = send(compose, "full", *settings)
    # The page has room for a first export, if the spans go in several.
    found = lines_of(lines, rf" of 12 spans were not exported to {full_collector}/v1/traces: ")
    assert found == (["1.1MB.jpg"] * 3, 1, 1)


def lines_of(lines, told):
    """Return the files that were answered for, and how many lines sum up and tell that spans were lost."""
    answers = [json.loads(line)["file"] for line in lines if line.startswith("{")]
    summaries = [line for line in lines if line.endswith("none failed")]
    return answers, len(summaries), len([line for line in lines if re.search(told, line)])


def test_a_sender_whose_traces_file_has_no_room_says_so(compose):
    volume = "--tmpfs=/traces:size=4k,mode=1777"
    lines = send(compose, "full", volume, arguments=("--traces-file=/traces/sender.jsonl",))
    # The exporter's own line comes whenever it first finds no room.
    found = lines_of(lines, r" of 12 spans were not exported to /traces/sender\.jsonl: ")
    assert found == (["1.1MB.jpg"] * 3, 1, 1)


def test_the_collectors_memory_is_limited_as_its_limiter_expects(compose):
    assert compose.inspect("collector")["HostConfig"]["Memory"] == 512 << 20


# By then each has met what the tests before did to it.
@pytest.mark.parametrize("service", ["predictor", "transformer", "bridge", "collector", "kafka"])
def test_each_entry_of_a_log_is_one_line(compose, service):
    lines = compose.logs(service).splitlines()
    levels = "DEBUG|INFO|WARNING|ERROR|Error:"
    begins = re.compile(rf"\{{.*\}}$|\[?\d{{4}}-\d\d-\d\d|({levels}) |consuming |stopped by |\d+ records?\b")
    assert [line for line in lines if not begins.match(line)] == []
