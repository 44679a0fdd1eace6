"""deploy/compose.yaml as it stands, in containers: what it measures, and what its containers may do."""

import shutil

import pytest
from container_tools import IMAGES, JAEGER, REPEAT, RUN, is_whole, tables, wait_for, whole

import otel_kfs

# The first test waits for everything to start, on a machine that does much else.
pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

OURS = ("predictor", "transformer", "bridge")


def test_every_image_is_measured_alike_from_jaeger_and_from_the_file(sent, tmp_path):
    def both():
        shutil.rmtree(tmp_path / "traces", ignore_errors=True)
        sent.engine.run("cp", f"{sent.container('collector')}:/traces", tmp_path)
        return [tables(query, RUN) for query in (JAEGER, str(tmp_path / "traces"))]

    images = len(IMAGES) * REPEAT * 2
    from_jaeger, from_file = wait_for(both, lambda found: is_whole(found[0], images) and found[0] == found[1])
    assert from_file == from_jaeger
    assert {(row["transport"], row["size"], row["n"]) for row in from_file["seed"]} == {
        (transport, image.removesuffix(".jpg"), REPEAT) for transport in ("http", "kafka") for image in IMAGES
    }


def test_containers_that_name_one_host_have_one_clock(sent):
    rows = whole(RUN, len(IMAGES) * REPEAT * 2)["seed"]
    assert [row["clocks_4-1"] for row in rows] == ["exact"] * len(IMAGES) * 2


def test_a_sender_on_another_host_has_a_clock_that_is_bounded(sent):
    run = "elsewhere"
    sent.start_sender("sender-http", RUN_ID=run, REPEAT="1", HOST_NAME="elsewhere")
    assert sent.wait_for_end("sender-http") == 0
    rows = whole(run, len(IMAGES))["seed"]
    assert [row["clocks_2-1"] for row in rows] == ["bounded"] * len(IMAGES)


@pytest.mark.parametrize("service", OURS)
def test_a_service_runs_as_nobody_in_particular_and_may_do_nothing(compose, service):
    status = dict(
        line.split(":\t", 1) for line in compose.execute(service, "cat", "/proc/1/status").splitlines() if ":\t" in line
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"


@pytest.mark.parametrize("service", OURS)
def test_a_service_can_write_nowhere(compose, service):
    writes = "import os\nfor at in ('/', '/tmp', '/var/tmp', os.getcwd()):\n"
    writes += " try: open(os.path.join(at, 'written'), 'w'); print(at)\n except OSError: pass"
    assert compose.execute(service, "python", "-c", writes) == ""


@pytest.mark.parametrize("service", ["kafka", "predictor", "transformer"])
def test_a_health_check_is_true(compose, service):
    assert compose.is_healthy(service)


@pytest.mark.parametrize("service", ["transformer", "bridge"])
def test_an_image_tells_its_version(compose, service):
    assert compose.execute(service, "otel-kfs", "--version").split()[-1] == otel_kfs.__version__
