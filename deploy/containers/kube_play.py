"""What Podman can run of an overlay of deploy/kubernetes, beside the containers of deploy/compose.yaml.

python deploy/containers/kube_play.py kafka > pods.yaml && podman kube play --network otel-kfs_default pods.yaml

Deployments and ConfigMaps stay as kustomize builds them. A Job becomes the Pod of its template, and so do an
InferenceService's transformer and predictor, the former with the arguments that KServe adds. Variables get the values
that the kubelet would give them, which Podman does in part. Kafka and the Collector are what a cluster's operators
make; compose.yaml has them here, by other addresses, and in the ingress' place the model's own pod is asked. Kinds that
Podman does not know are left out. It needs kustomize and PyYAML.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KUBERNETES = Path(__file__).resolve().parents[1] / "kubernetes"
# Which containers of compose.yaml answer at the addresses of a cluster.
ADDRESSES = {
    "images-kafka-bootstrap:9092": "kafka:19092",
    "http://traces-collector.otel-kfs:4318": "http://collector:4318",
}
# Where a cluster answers for its InferenceServices, besides their own names.
GATEWAYS = ("istio-ingressgateway.istio-system", "images.envoy-gateway-system")
# An InferenceService's, whichever clients ask first.
PARTS = ("transformer", "predictor")
# What the API server would say of a Job's pod.
JOB_UID = "batch.kubernetes.io/controller-uid"
JOB_ANNOTATIONS = {"batch.kubernetes.io/job-completion-index": "0"}


def playable(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what Podman takes of an overlay's resources."""
    text = json.dumps([each for resource in resources for each in _played(resource)])
    for cluster, here in (ADDRESSES | _models(resources)).items():
        text = text.replace(cluster, here)
    found: list[dict[str, Any]] = json.loads(text)
    maps = {each["metadata"]["name"]: each["data"] for each in found if each["kind"] == "ConfigMap"}
    for each in found:
        if each["kind"] == "Pod":
            _fill(each["metadata"], each["spec"], maps)
        elif each["kind"] == "Deployment":
            # Podman's name for the one pod that it makes.
            _fill({"name": f"{each['metadata']['name']}-pod-0"}, each["spec"]["template"]["spec"], maps)
    return found


def _models(resources: list[dict[str, Any]]) -> dict[str, str]:
    """Return which pod answers where a cluster answers for an overlay's InferenceService."""
    found = {}
    for resource in resources:
        if resource["kind"] == "InferenceService":
            name, front = resource["metadata"]["name"], next(part for part in PARTS if part in resource["spec"])
            for service in (*GATEWAYS, f"{name}.otel-kfs"):
                found[f"http://{service}.svc.cluster.local"] = f"http://{name}-{front}:8080"
    return found


def _played(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = resource["metadata"]["name"]
    if resource["kind"] in ("ConfigMap", "Deployment"):
        yield resource
    elif resource["kind"] == "Job":
        yield _pod(name, resource["spec"]["template"]["spec"], {JOB_UID: f"kube-play-{name}"}, JOB_ANNOTATIONS)
    elif resource["kind"] == "InferenceService":
        for part in (part for part in PARTS if part in resource["spec"]):
            (container,) = resource["spec"][part]["containers"]
            if part == "transformer":
                added = ["--model_name", name, "--predictor_host", f"{name}-predictor:8080", "--http_port", "8080"]
                container = {**container, "args": [*container.get("args", ()), *added]}
            yield _pod(f"{name}-{part}", {"containers": [container]}, {}, {})


def _pod(name: str, spec: dict[str, Any], labels: dict[str, str], annotations: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _fill(metadata: dict[str, Any], spec: dict[str, Any], maps: dict[str, dict[str, str]]) -> None:
    """Give a pod's variables the values that the kubelet would, and put them where $(NAME) stands."""
    fields = {"metadata.name": metadata["name"], "metadata.namespace": "otel-kfs", "spec.nodeName": platform.node()}
    for kind in ("labels", "annotations"):
        fields |= {f"metadata.{kind}['{key}']": value for key, value in metadata.get(kind, {}).items()}
    for container in spec["containers"]:
        # Podman would ask by curl, from inside, where there is none; the kubelet asks from outside.
        container.pop("livenessProbe", None)
        container.pop("readinessProbe", None)
        # It would publish each on every address of this machine; within the network none is needed.
        container.pop("ports", None)
        values: dict[str, str] = {}
        for variable in container.get("env", ()):
            source = variable.pop("valueFrom", {})
            if "fieldRef" in source:
                variable["value"] = fields[source["fieldRef"]["fieldPath"]]
            elif "configMapKeyRef" in source:
                variable["value"] = maps[source["configMapKeyRef"]["name"]][source["configMapKeyRef"]["key"]]
            variable["value"] = values[variable["name"]] = _expanded(variable["value"], values)
        for key in ("command", "args"):
            if key in container:
                container[key] = [_expanded(each, values) for each in container[key]]


def _expanded(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda found: values.get(found[1], found[0]), text)


def main(overlay: str) -> None:
    """Print what Podman takes of an overlay."""
    import yaml

    built = subprocess.run(
        ["kustomize", "build", str(KUBERNETES / "overlays" / overlay)], capture_output=True, text=True, check=True
    ).stdout
    yaml.safe_dump_all(playable(list(yaml.safe_load_all(built))), sys.stdout, sort_keys=False)


if __name__ == "__main__":
    main(sys.argv[1])
