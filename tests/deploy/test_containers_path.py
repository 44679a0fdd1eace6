"""deploy/compose.yaml as it stands, in containers: what it measures, and what its containers may do."""

import json

import pytest
from container_tools import IMAGES, JAEGER, REPEAT, RUN, collector_files, is_whole, tables, wait_for, whole

import otel_kfs

# The first test waits for everything to start, on a machine that does much else.
pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

OURS = ("predictor", "transformer", "bridge")


def test_every_image_is_measured_alike_from_jaeger_and_from_the_file(sent, tmp_path):
    def both():
        return [tables(query, RUN) for query in (JAEGER, collector_files(sent, tmp_path))]

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


@pytest.mark.parametrize("service", ["kafka", *OURS])
def test_what_a_command_leaves_behind_is_not_left_defunct(compose, service):
    def states():
        script = "for each in /proc/[0-9]*/stat; do cut -d' ' -f2,3 $each; done 2> /dev/null"
        return compose.execute(service, "sh", "-c", script).splitlines()

    compose.execute(service, "sh", "-c", "sleep 0.1 & echo left")
    wait_for(states, lambda found: not any("(sleep)" in each for each in found), limit=30)
    assert [each for each in states() if each.endswith(" Z")] == []


@pytest.mark.parametrize("service", ["kafka", "predictor", "transformer"])
def test_a_health_check_is_true(compose, service):
    assert compose.is_healthy(service)


@pytest.mark.parametrize("service", ["transformer", "bridge"])
def test_an_image_tells_its_version(compose, service):
    assert compose.execute(service, "otel-kfs", "--version").split()[-1] == otel_kfs.__version__


@pytest.mark.parametrize(("service", "image"), [("transformer", "otel-kfs-serving"), ("bridge", "otel-kfs-clients")])
def test_an_image_tells_by_labels_what_it_is(compose, service, image):
    found = compose.inspect(service)["Config"]["Labels"]
    start = "org.opencontainers.image."
    labels = {key.removeprefix(start): value for key, value in found.items() if key.startswith(start)}
    assert labels.pop("description")
    # What is not released has no version and no commit of its own.
    assert labels == {"title": image, "version": "dev", "revision": "", "licenses": "Apache-2.0"}


@pytest.mark.parametrize("service", ["transformer", "bridge"])
def test_an_image_has_no_tools_to_build_with(compose, service):
    compilers = " -o ".join(f"-name '{name}'" for name in ("cc", "gcc*", "*-gcc*", "g++*", "clang*", "ld", "make"))
    packages = " -o ".join(f"-name '{name}*'" for name in ("pip", "setuptools", "wheel", "grpc_tools", "Cython"))
    script = f"find / -xdev -type f -perm /111 \\( {compilers} \\) 2> /dev/null; "
    script += f"find /opt/otel-kfs/lib/*/* -maxdepth 1 {packages}"
    assert compose.execute(service, "sh", "-c", f"({script}) || true") == ""


@pytest.mark.parametrize("service", ["transformer", "bridge"])
def test_an_images_bill_of_materials_lists_the_packages_that_are_in_it(compose, service):
    bill = json.loads(compose.execute(service, "cat", "/opt/otel-kfs/sbom.json"))
    listed = {(part["name"].lower(), part["version"]) for part in bill["components"]}
    script = "import importlib.metadata as m; [print(d.name.lower(), d.version) for d in m.distributions()]"
    installed = {tuple(line.split()) for line in compose.execute(service, "python", "-c", script).splitlines()}
    assert installed == listed
    assert ("otel-kfs", otel_kfs.__version__) in listed
