import json
import os
import re

import pytest
from container_tools import playable
from deploy_tools import (
    DEPLOY,
    KUBERNETES,
    OVERLAYS,
    containers,
    crds,
    max_record_bytes,
    overlay,
    read_yaml,
    resource,
    run,
    tool,
)

import otel_kfs
from otel_kfs.cli import main

pytestmark = pytest.mark.deploy

# The images whose program is `otel-kfs`.
COMMANDS = ("otel-kfs-clients:", "otel-kfs-watch:")
RESOURCES = [
    *(("ingress", kind) for kind in ("ConfigMap", "InferenceService", "Job", "Namespace", "OpenTelemetryCollector")),
    *(("kafka", kind) for kind in ("Deployment", "Job", "Kafka", "KafkaNodePool", "KafkaTopic", "ScaledObject")),
    *(("kafka-source", kind) for kind in ("ClusterRole", "KafkaSource")),
    *(("openai", kind) for kind in ("ConfigMap", "InferenceService", "Job")),
    *(
        ("envoy-gateway", kind)
        for kind in ("ConfigMap", "GatewayClass", "Gateway", "EnvoyProxy", "ClientTrafficPolicy", "InferenceService")
    ),
    *(("watch", kind) for kind in ("Deployment/watch", "NetworkPolicy", "OpenTelemetryCollector", "Service")),
]


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_kind_of_resource_is_checked(name):
    shared = {"InferenceService", "Namespace", "OpenTelemetryCollector", "Job", "Kafka", "KafkaNodePool", "KafkaTopic"}
    if name == "watch":  # which begins from that for Kafka
        shared |= {"ScaledObject"}
    checked = {kind.partition("/")[0] for at, kind in RESOURCES if at == name}
    assert {each["kind"] for each in overlay(name)} <= checked | shared


@pytest.mark.parametrize(("name", "kind"), RESOURCES)
def test_a_resource_fits_its_schema(name, kind):
    found = resource(name, kind)
    import jsonschema
    import kubernetes_validate

    schema = crds().get((found["apiVersion"], found["kind"]))
    if schema is None and ("." not in found["apiVersion"] or ".k8s.io/" in found["apiVersion"]):
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
        return
    if schema is None:
        pytest.skip(f"no CRD of {kind}: no registry has it, name a folder with it in OTEL_KFS_CRDS")
    errors = jsonschema.Draft202012Validator(schema).iter_errors(found)
    assert [f"{error.json_path}: {error.message[:200]}" for error in errors] == []


def test_kserve_s_own_tracing_fits_the_schema_that_it_has_in_its_other_resource():
    import jsonschema

    (patch,) = read_yaml(DEPLOY / "kubernetes" / "components" / "tracing" / "kustomization.yaml")[0]["patches"]
    ((added,),) = read_yaml(patch["patch"])
    schema = crds()["serving.kserve.io/v1alpha2", "LLMInferenceService"]["properties"]["spec"]["properties"]["tracing"]
    assert added["path"] == "/spec/tracing"
    assert [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(added["value"])] == []


def test_a_field_that_does_not_exist_is_refused():
    found = resource("kafka", "KafkaTopic")
    import jsonschema

    misspelt = {**found, "spec": {**found["spec"], "partition": 1}}
    assert not jsonschema.Draft202012Validator(crds()[found["apiVersion"], "KafkaTopic"]).is_valid(misspelt)


@pytest.mark.parametrize("name", OVERLAYS)
def test_containers_are_bounded_and_without_privileges(name):
    found = [(each["kind"], container) for each in overlay(name) for container in containers(each)]
    assert found
    for _, container in found:
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]["memory"]
        secure = container["securityContext"]
        assert secure["allowPrivilegeEscalation"] is False
        assert secure["readOnlyRootFilesystem"] is True
        assert secure["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", OVERLAYS)
def test_commands_are_what_the_command_line_takes(name):
    ours = [c for each in overlay(name) for c in containers(each) if c["image"].startswith(COMMANDS)]
    assert ours
    for container in ours:
        command, *arguments = container["args"]
        main.commands[command].make_context(command, arguments)


@pytest.mark.parametrize("name", OVERLAYS)
def test_spans_say_where_and_by_which_version_they_were_written(name):
    ours = [c for each in overlay(name) for c in containers(each) if c["image"].startswith("otel-kfs-")]
    assert ours
    for container in ours:
        variables = [each["name"] for each in container["env"]]
        by_name = {each["name"]: each for each in container["env"]}
        fields = {"POD": "metadata.name", "NAMESPACE": "metadata.namespace", "NODE": "spec.nodeName"}
        for variable, field in fields.items():
            assert by_name[variable]["valueFrom"] == {"fieldRef": {"fieldPath": field}}
            # Kubernetes fills in only what stands before.
            assert variables.index(variable) < variables.index("OTEL_RESOURCE_ATTRIBUTES")
        said = dict(pair.split("=") for pair in by_name["OTEL_RESOURCE_ATTRIBUTES"]["value"].split(","))
        said.pop("service.instance.id", None)
        assert said == {
            "k8s.namespace.name": "$(NAMESPACE)",
            "k8s.pod.name": "$(POD)",
            "k8s.node.name": "$(NODE)",
            "service.version": otel_kfs.__version__,
        }


@pytest.mark.parametrize("name", OVERLAYS)
def test_what_podman_plays_of_an_overlay_asks_for_nothing_that_only_a_cluster_has(name):
    played = playable(overlay(name))
    assert {each["kind"] for each in played} <= {"ConfigMap", "Deployment", "Pod"}
    of_cluster = (".svc", "traces-collector", "kafka-bootstrap", "valueFrom", "$(")
    assert [each for each in of_cluster if each in json.dumps(played)] == []
    pods = {each["metadata"]["name"] for each in played}
    asked = re.findall(r"--url=http://([\w-]+):8080", json.dumps(played))
    assert set(asked) <= pods, "the model that is asked is not there"


def test_the_bridge_and_what_scales_it_agree():
    trigger = resource("kafka", "ScaledObject")["spec"]["triggers"][0]["metadata"]
    (bridge,) = containers(resource("kafka", "Deployment"))
    topic = resource("kafka", "KafkaTopic")
    assert f"--group={trigger['consumerGroup']}" in bridge["args"]
    assert f"--topic={trigger['topic']}" in bridge["args"]
    assert topic["metadata"]["name"] == trigger["topic"]
    assert resource("kafka", "ScaledObject")["spec"]["maxReplicaCount"] == topic["spec"]["partitions"]


def test_the_largest_record_passes_every_limit():
    largest = max_record_bytes()
    broker = resource("kafka", "Kafka")["spec"]["kafka"]["config"]
    topic = resource("kafka", "KafkaTopic")["spec"]["config"]
    assert largest < topic["max.message.bytes"] <= broker["message.max.bytes"]
    assert broker["message.max.bytes"] <= broker["replica.fetch.max.bytes"] < broker["socket.request.max.bytes"]
    assert topic["segment.bytes"] > topic["max.message.bytes"]


def test_the_collector_has_the_pipeline_of_the_compose_file():
    (config,) = read_yaml(DEPLOY / "collector.yaml")
    assert resource("ingress", "OpenTelemetryCollector")["spec"]["config"] == config


def test_traces_are_shared_out_among_watches_by_the_exporter_of_the_compose_file():
    (added,) = read_yaml(DEPLOY / "collector-watch.yaml")
    patched, unpatched = (resource(name, "OpenTelemetryCollector")["spec"]["config"] for name in ("watch", "kafka"))
    ours, theirs = patched["exporters"].pop("load_balancing"), added["exporters"]["load_balancing"]
    assert patched["service"]["pipelines"].pop("traces/watch") == added["service"]["pipelines"]["traces/watch"]
    assert patched == unpatched
    assert ours | {"resolver": theirs["resolver"]} == theirs


def test_the_collector_takes_the_configuration_with_watches(tmp_path):
    spec = resource("watch", "OpenTelemetryCollector")["spec"]
    file = tmp_path / "collector.yaml"  # JSON is YAML
    file.write_text(json.dumps(spec["config"]))
    environment = {**os.environ, **{each["name"]: each["value"] for each in spec["env"]}}
    run(tool("collector"), "validate", "--config", file, env=environment)


def test_the_collector_finds_every_watch_and_may_send_to_it():
    exporter = resource("watch", "OpenTelemetryCollector")["spec"]["config"]["exporters"]["load_balancing"]
    service, policy = resource("watch", "Service"), resource("watch", "NetworkPolicy")
    watch = resource("watch", "Deployment/watch")
    pods = watch["spec"]["template"]
    found = exporter["resolver"]["dns"]
    assert found["hostname"] == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.cluster.local"
    # A name of all pods' addresses, and not of one address before them.
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == policy["spec"]["podSelector"]["matchLabels"] == pods["metadata"]["labels"]
    assert watch["spec"]["replicas"] > 1
    (container,) = pods["spec"]["containers"]
    listening = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == listening
    assert int(found["port"]) == listening["otlp-grpc"]
    assert [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]] == [*listening.values()]
    collector = resource("watch", "OpenTelemetryCollector")["metadata"]
    (sender,) = policy["spec"]["ingress"][0]["from"]
    labels = sender["podSelector"]["matchLabels"]
    assert labels["app.kubernetes.io/instance"] == f"{collector['namespace']}.{collector['name']}"


def test_a_watch_s_metrics_are_where_prometheus_is_told_to_look():
    pods = resource("watch", "Deployment/watch")["spec"]["template"]
    (container,) = pods["spec"]["containers"]
    port = pods["metadata"]["annotations"]["prometheus.io/port"]
    assert f"--metrics-port={port}" in container["args"]
    assert int(port) in [each["containerPort"] for each in container["ports"]]


def test_a_watch_that_is_to_end_first_measures_what_it_has_and_is_asked_once_more():
    pod = resource("watch", "Deployment/watch")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    exporter = resource("watch", "OpenTelemetryCollector")["spec"]["config"]["exporters"]["load_balancing"]
    looks_up = int(exporter["resolver"]["dns"]["interval"].removesuffix("s"))
    (linger,) = (each.default for each in main.commands["watch"].params if each.name == "linger")
    # And Prometheus' interval, by default a minute at most.
    assert looks_up + int(linger.removesuffix("s")) < sleep < pod["terminationGracePeriodSeconds"]
