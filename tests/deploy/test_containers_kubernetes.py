"""What of deploy/kubernetes Podman can run: pods in the place of the containers that compose.yaml has for them."""

import json

import pytest
from container_tools import IMAGES, JAEGER, playable, tables, wait_for
from deploy_tools import overlay

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

KILLED = 137
SERVERS = ["mobilenet-predictor", "mobilenet-transformer"]
METRICS = "http://127.0.0.1:9464/metrics"
# What every overlay's sender sends.
SENT = 5 * len(IMAGES)


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


@pytest.fixture(scope="module")
def servers(compose, play):
    """Transformer and predictor as pods, which all overlays but that for OpenAI's routes have."""
    pods = pods_of("kafka")
    play("servers", [pods[name] for name in SERVERS])
    for name in SERVERS:
        wait_for(lambda name=name: ready(compose, name, "/v1/models/mobilenet"), bool)


def pods_of(name):
    """What Podman takes of an overlay, by name."""
    return {each["metadata"]["name"]: each for each in playable(overlay(name))}


def ready(compose, name, path):
    """Whether a server's readiness probe would succeed."""
    return answers(compose, f"{name}-kserve-container", f"http://127.0.0.1:8080{path}")


def answers(compose, container, url):
    """Whether a container can be asked, from inside."""
    script = f"import urllib.request; urllib.request.urlopen('{url}')"
    return compose.engine.run("exec", container, "python", "-c", script, check=False).returncode == 0


def assert_that_its_images_are_measured(compose, play, sender):
    """Let a Job's pod send, and assert that all of it is measured."""
    name = sender["metadata"]["name"]
    play(name, [sender])
    assert compose.engine.output("wait", f"{name}-sender") == "0"

    def found():
        read = tables(JAEGER, f"kube-play-{name}")
        # A request is made again where Podman's name server is away: a pod has its names from there alone.
        return {row["clocks_4-1"] for row in read["seed"]}, read.get("account", {}) | {"retried": 0}

    # Pods of one node have one clock, though each has a host name of its own.
    measured = {"measured": SENT, "left_out": {}, "retried": 0, "redelivered": 0, "in_batches": 0}
    wait_for(found, lambda read: read == ({"exact"}, measured))


def knowing(compose, sender, server):
    """A sender's pod with the addresses that it needs in /etc/hosts: it does not ask for a name again."""
    infra = compose.engine.output("pod", "inspect", "--format", "{{.InfraContainerID}}", server)
    addresses = {server: compose.address(infra), "collector": compose.address(compose.container("collector"))}
    sender["spec"]["hostAliases"] = [{"ip": at, "hostnames": [name]} for name, at in addresses.items()]
    return sender


def test_the_pods_of_the_overlay_for_kafka_measure_every_image(compose, play, servers):
    pods = pods_of("kafka")
    assert sorted(pods) == ["bridge", *SERVERS, "sender-kafka"]
    play("bridge", [pods["bridge"]])
    assert_that_its_images_are_measured(compose, play, pods["sender-kafka"])


def test_the_pods_of_the_overlay_for_an_ingress_measure_every_image(compose, play, servers):
    pods = pods_of("ingress")
    sender = knowing(compose, pods["sender-http"], "mobilenet-transformer")
    assert_that_its_images_are_measured(compose, play, sender)


def test_the_pods_of_the_overlay_for_openais_routes_measure_every_image(compose, play):
    pods = pods_of("openai")
    play("chat", [pods["chat-predictor"]])
    wait_for(lambda: ready(compose, "chat-predictor", "/openai/v1/models/mobilenet"), bool)
    assert_that_its_images_are_measured(compose, play, knowing(compose, pods["sender-chat"], "chat-predictor"))


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
