"""What of deploy/kubernetes Podman can run: pods in the place of the containers that compose.yaml has for them."""

import json

import pytest
from container_tools import IMAGES, JAEGER, is_whole, playable, tables, wait_for
from deploy_tools import overlay

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

KILLED = 137
SERVERS = ["mobilenet-predictor", "mobilenet-transformer"]
# What a Job's label gives as the run.
RUN = "kube-play"
METRICS = "http://127.0.0.1:9464/metrics"
# As the overlay's sender does.
REPEAT = 5


@pytest.fixture(scope="module")
def play(compose, tmp_path_factory):
    """Plays resources in the network of compose.yaml, whose own bridge is away, and takes them away in the end."""
    if compose.engine.name != "podman":
        pytest.skip("kube play is Podman's")
    folder, files = tmp_path_factory.mktemp("pods"), []

    def played(name, resources):
        file = folder / f"{name}.json"
        file.write_text("\n---\n".join(map(json.dumps, resources)))
        files.append(file)
        return compose.engine.output("kube", "play", "--network", compose.network, file)

    compose.engine.run("stop", compose.container("bridge"))
    yield played
    for file in reversed(files):
        compose.engine.run("kube", "down", file, check=False)
    compose.engine.run("start", compose.container("bridge"))


def test_the_pods_of_the_overlay_for_kafka_measure_every_image(compose, play):
    pods = {each["metadata"]["name"]: each for each in playable(overlay("kafka"))}
    sender = pods.pop("sender-kafka")
    assert sorted(pods) == ["bridge", *SERVERS]
    play("servers", [pods[name] for name in SERVERS])
    for name in SERVERS:
        wait_for(lambda name=name: ready(compose, name), bool)
    play("bridge", [pods["bridge"]])
    play("sender", [sender])
    images = len(IMAGES) * REPEAT
    assert compose.engine.output("wait", "sender-kafka-sender") == "0"
    found = wait_for(lambda: tables(JAEGER, RUN), lambda found: is_whole(found, images))
    # A request is made again where Podman's name server is away: a pod has its names from there alone.
    assert found["account"] | {"retried": 0} == {
        "measured": images,
        "left_out": {},
        "retried": 0,
        "redelivered": 0,
        "in_batches": 0,
    }
    # Pods of one node have one clock, though each has a host name of its own.
    assert {row["clocks_4-1"] for row in found["seed"]} == {"exact"}


def ready(compose, name):
    """Whether a server's readiness probe would succeed."""
    return answers(compose, f"{name}-kserve-container", "http://127.0.0.1:8080/v1/models/mobilenet")


def answers(compose, container, url):
    """Whether a container can be asked, from inside."""
    script = f"import urllib.request; urllib.request.urlopen('{url}')"
    return compose.engine.run("exec", container, "python", "-c", script, check=False).returncode == 0


def test_the_pods_of_the_component_for_watches_are_ready(compose, play):
    (watches,) = (each for each in playable(overlay("watch")) if each["metadata"]["name"] == "watch")
    play("watch", [watches])
    for number in range(watches["spec"]["replicas"]):
        container = f"watch-pod-{number}-watch"
        wait_for(lambda container=container: answers(compose, container, METRICS), bool)


@pytest.mark.parametrize("container", ["bridge-pod-0-bridge", *(f"{name}-kserve-container" for name in SERVERS)])
def test_a_pods_program_is_process_1_and_ends_when_it_is_asked_to(compose, play, container):
    compose.engine.run("stop", "--time", "60", container)
    (found,) = json.loads(compose.engine.output("container", "inspect", container))
    assert found["State"]["ExitCode"] != KILLED
