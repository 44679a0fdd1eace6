"""The tools that deploy/validate/validate.py fetches; a test that lacks one is left out, or fails if it must not be.

OTEL_KFS_CRDS names a folder of further CRDs, such as a cluster's own: kubectl get crd NAME -o yaml > FOLDER/NAME.yaml
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
sys.path[:0] = [str(DEPLOY / "validate"), str(DEPLOY / "services")]

import validate  # noqa: E402  # it stands in the folder just added

# Behind everything else: what the environment has itself goes first.
sys.path.append(str(validate.folder("python")))

# Read here, because tests run without the caller's OTEL_* settings.
FURTHER_CRDS = os.environ.get("OTEL_KFS_CRDS")
REQUIRED = "deploy" in os.environ.get("OTEL_KFS_TESTS_REQUIRED", "").split(",")

OVERLAYS = sorted(path.parent.name for path in DEPLOY.glob("kubernetes/overlays/*/kustomization.yaml"))
KUBERNETES = "1.37"


# Where in its folder a tool's executable is.
EXECUTABLES = {"kustomize": "kustomize", "compose": "cmd", "collector": "otelcol", "dashboards": "dashboards"}


def tool(name: str) -> Path:
    """A tool's executable, or its folder where it has none."""
    folder = validate.folder(name)
    if not folder.exists():
        reason = f"{name} not fetched: run deploy/validate/validate.py --fetch"
        pytest.fail(reason) if REQUIRED else pytest.skip(reason)
    return folder / EXECUTABLES.get(name, "")


def read_yaml(text: str | Path) -> list[Any]:
    """The documents of a YAML file or text."""
    tool("python")
    import yaml

    # By libyaml where it is there, because CRDs are large.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return list(yaml.load_all(text.read_text() if isinstance(text, Path) else text, loader))


def run(*command: str | Path, **options: Any) -> str:
    """What a command prints; the test fails with all of it where the command fails."""
    answer = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@functools.cache
def overlay(name: str) -> list[dict[str, Any]]:
    """An overlay's resources, as kustomize builds them."""
    return read_yaml(run(tool("kustomize"), "build", DEPLOY / "kubernetes" / "overlays" / name))


def resource(overlay_name: str, kind: str) -> dict[str, Any]:
    """A copy of the one resource of a kind in an overlay, or of KIND/NAME where there are several."""
    kind, _, name = kind.partition("/")
    (found,) = (
        each for each in overlay(overlay_name) if each["kind"] == kind and name in ("", each["metadata"]["name"])
    )
    return copy.deepcopy(found)


@functools.cache
def crds() -> dict[tuple[str, str], dict[str, Any]]:
    """The schema of every custom resource that there is a CRD for, by apiVersion and kind."""
    folders = [tool("crds-modules"), tool("crds-strimzi"), *([Path(FURTHER_CRDS)] if FURTHER_CRDS else [])]
    schemas = {}
    for file in (file for folder in folders for file in sorted(folder.glob("*.yaml"))):
        for crd in read_yaml(file):
            if crd and crd.get("kind") == "CustomResourceDefinition":
                spec = crd["spec"]
                for version in spec["versions"]:
                    schema = strict(version["schema"]["openAPIV3Schema"])
                    schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
                    schemas[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return schemas


def strict(schema: Any) -> Any:
    """A CRD's schema as JSON Schema that refuses a field it does not know, which an API server would drop."""
    if not isinstance(schema, dict):
        return schema
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {name: strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if key in schema:
            schema[key] = strict(schema[key])
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    return schema


def containers(node: Any) -> Iterator[dict[str, Any]]:
    """Every container, wherever in a resource it stands."""
    if isinstance(node, dict):
        yield from node.get("containers") or ()
        for value in node.values():
            yield from containers(value)
    elif isinstance(node, list):
        for value in node:
            yield from containers(value)


def max_record_bytes() -> int:
    """What otel-kfs's own Kafka clients let through."""
    pytest.importorskip("confluent_kafka")
    from otel_kfs.client.kafka_access.kafka_settings import MAX_RECORD_BYTES

    return MAX_RECORD_BYTES


def filled(query: str) -> str:
    """A dashboard's query with all runs and both transports chosen, as Grafana fills it in."""
    query = query.replace("$run", ".*").replace("$transport", "http|kafka")
    assert not re.search(r"\$\w", query)
    return query


def queries_of_watches() -> dict[str, list[str]]:
    """The queries of the dashboard `watch`, by panel, as Grafana fills them in with all transports and sizes chosen."""
    chosen = {"$__rate_interval": "1m", "$__range": "1h", "$transport": ".*", "$size": ".*"}
    names = re.compile("|".join(map(re.escape, chosen)))
    found = {
        panel["title"]: [names.sub(lambda name: chosen[name[0]], target["expr"]) for target in panel["targets"]]
        for panel in json.loads((DEPLOY / "grafana/dashboards/watch.json").read_text())["panels"]
    }
    assert "$" not in str(found)
    return found


def overlapping(dashboard: dict[str, Any]) -> list[str]:
    """The titles of a Grafana dashboard's panels that lie on one before them."""
    taken: set[tuple[int, int]] = set()
    found = []
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        if cells & taken:
            found.append(panel["title"])
        taken |= cells
    return found
