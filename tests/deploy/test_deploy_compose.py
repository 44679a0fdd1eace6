import json
import os

import pytest
from deploy_tools import DEPLOY, max_record_bytes, read_yaml, resource, run, tool

from otel_kfs.cli import main

pytestmark = pytest.mark.deploy


def as_read(*files):
    """The services as Docker Compose reads them from these files together."""
    paths = [DEPLOY / file for file in files]
    return json.loads(run(tool("compose"), "-format=json", *paths, cwd=DEPLOY))["services"]


@pytest.fixture(scope="module")
def services():
    """All services there are, those that watch among them."""
    return as_read("compose.yaml", "compose.watch.yaml")


def test_what_watches_changes_nothing_else_but_the_collector_and_grafana(services):
    alone = as_read("compose.yaml")
    assert services.keys() - alone.keys() == {"watch-1", "watch-2", "prometheus"}
    assert {name for name in alone if alone[name] != services[name]} == {"collector", "grafana"}


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_yaml_can_be_read(path):
    assert any(read_yaml(path))


def test_ports_are_published_on_loopback_only(services):
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert {port["host_ip"] for port in published} == {"127.0.0.1"}


def test_images_are_ours_or_pinned(services):
    for service in services.values():
        assert (
            service["image"].startswith("otel-kfs-")
            or service["image"].partition(":")[2].removeprefix("v")[0].isdigit()
        )


def test_files_that_are_mounted_exist(services):
    mounted = [v["source"] for s in services.values() for v in s.get("volumes", []) if v["type"] == "bind"]
    assert mounted
    assert all(os.path.exists(source) for source in mounted)


def test_commands_are_what_the_command_line_takes(services):
    images = ("otel-kfs-clients:", "otel-kfs-watch:")
    ours = [service["command"] for service in services.values() if service["image"].startswith(images)]
    assert len(ours) == 5
    for command, *arguments in ours:
        main.commands[command].make_context(command, arguments)


def test_the_largest_record_passes_every_limit(services):
    largest = max_record_bytes()
    broker = services["kafka"]["environment"]
    (topic,) = (int(word.rpartition("=")[2]) for word in services["topic"]["command"] if "max.message.bytes" in word)
    most = int(broker["KAFKA_MESSAGE_MAX_BYTES"])
    assert largest < topic <= most <= int(broker["KAFKA_REPLICA_FETCH_MAX_BYTES"])
    assert most < int(broker["KAFKA_SOCKET_REQUEST_MAX_BYTES"])


def test_the_collector_takes_its_configuration(services):
    environment = {**os.environ, **services["collector"]["environment"]}
    for files in (["collector.yaml"], ["collector.yaml", "collector-watch.yaml"]):
        options = [f"--config={DEPLOY / file}" for file in files]
        run(tool("collector"), "validate", *options, env=environment)
    assert services["collector"]["command"] == ["--config=/etc/collector.yaml", "--config=/etc/collector-watch.yaml"]


def test_the_collector_and_prometheus_know_both_watches(services):
    (added,), (prometheus,) = (read_yaml(DEPLOY / f"{name}.yaml") for name in ("collector-watch", "prometheus"))
    watches = [name for name in services if name.startswith("watch-")]
    to = added["exporters"]["load_balancing"]["resolver"]["static"]["hostnames"]
    assert to == [f"{name}:4317" for name in watches]
    (scraped,) = prometheus["scrape_configs"][0]["static_configs"]
    assert scraped["targets"] == [f"{name}:9464" for name in watches]
    assert all("--metrics-port=9464" in services[name]["command"] for name in watches)


def test_both_run_the_same_collector(services):
    assert resource("ingress", "OpenTelemetryCollector")["spec"]["image"] == services["collector"]["image"]


def test_the_dockerfiles_have_no_findings():
    run(tool("python") / "bin" / "hadolint", *sorted(DEPLOY.rglob("Dockerfile")))


def test_the_dockerfile_has_the_targets(services):
    stages = {line.split()[-1] for line in (DEPLOY / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")}
    assert {service["build"]["target"] for service in services.values() if "build" in service} <= stages
