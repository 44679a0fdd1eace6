"""The images that deploy/compose.yaml names: ours are built, the others pulled, or made from package registries."""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from container_engine import HERE, ContainerError, Engine, install_packages, say

DEPLOY = HERE.parent
TOP = DEPLOY.parent
sys.path[:0] = [str(DEPLOY / "services"), str(DEPLOY / "validate")]
import services  # noqa: E402
import validate  # noqa: E402

# Debian's release that has the Python of deploy/Dockerfile.
DEBIAN = "trixie"
BASE = "python:3.13-slim"
STAND_IN = "otel-kfs.stand-in"
OURS = ("serving", "clients", "watch")
# Beside its own code, what decides how a stand-in is made.
RECIPES = {
    "_make_base": [],
    "_make_kafka": [*sorted((HERE / "kafka").iterdir()), DEPLOY / "services/kafka/pom.xml"],
    "_make_jaeger": [HERE / "program/Dockerfile", DEPLOY / "services/service_stores.py"],
    "_make_prometheus": [HERE / "program/Dockerfile", DEPLOY / "services/service_prometheus.py"],
    "_make_collector": [HERE / "program/Dockerfile", *sorted((DEPLOY / "validate/collector").iterdir())],
}


def make_images(engine: Engine) -> None:
    """Make every image that deploy/compose*.yaml need without the profile `dashboard`, where it is not there yet."""
    make_base(engine)
    _provide(engine, _named("apache/kafka"), _make_kafka)
    _provide(engine, _named("jaegertracing/jaeger"), _make_jaeger)
    _provide(engine, _named("otel/opentelemetry-collector-contrib"), _make_collector)
    _provide(engine, _named("prom/prometheus"), _make_prometheus)
    for target in OURS:
        with timed(f"built otel-kfs-{target}:dev"):
            build(engine, target, f"otel-kfs-{target}:dev")


def make_base(engine: Engine) -> None:
    """Make the image that ours begin from, where it is not there yet."""
    _provide(engine, BASE, _make_base)


def _provide(engine: Engine, image: str, make: Callable[[Engine, str, str], None]) -> None:
    # Where Docker is, images can mostly be pulled; OTEL_KFS_IMAGES=make or =pull decides it.
    if os.environ.get("OTEL_KFS_IMAGES", "pull" if engine.name == "docker" else "make") == "pull":
        engine.run("pull", "--quiet", image)
        return
    path = image if "/" in image else f"library/{image}"
    # Podman keeps full names, Docker short ones.
    name = f"docker.io/{path}" if engine.name == "podman" else image
    recipe = _digest(make)
    if _stand_in(engine, name) != recipe:
        with timed(f"made {image} from packages"):
            make(engine, name, recipe)


def build(engine: Engine, target: str, tag: str, *options: str) -> None:
    """Build a target of deploy/Dockerfile, with this machine's settings of pip as secrets."""
    with tempfile.TemporaryDirectory(prefix="otel-kfs-build-") as scratch:
        secrets = _pip_secrets(Path(scratch))
        command = ["build", "--file", DEPLOY / "Dockerfile", "--target", target, "--tag", tag, *options]
        _build(engine, *command, *secrets, TOP)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how many seconds it took, once it is done."""
    started = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - started:.0f} s")


def _named(repository: str) -> str:
    """Return the image of a repository with the tag that deploy/compose.yaml, or what is beside it, pins."""
    texts = "".join((DEPLOY / name).read_text("utf-8") for name in ("compose.yaml", "compose.watch.yaml"))
    found = re.search(rf"image: ({re.escape(repository)}:\S+)", texts)
    if found is None:
        raise ContainerError(f"deploy/compose*.yaml name no image of {repository}")
    return found[1]


def _digest(make: Callable[[Engine, str, str], None]) -> str:
    """Return what changes with whatever decides how a stand-in is made."""
    digest = hashlib.sha256(f"{DEBIAN}\n{inspect.getsource(make)}".encode())
    for file in RECIPES[make.__name__]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _stand_in(engine: Engine, name: str) -> str:
    """Return the recipe that an image here was made by, or nothing."""
    form = "{{index .Config.Labels " + f'"{STAND_IN}"' + "}}"
    return engine.run("image", "inspect", "--format", form, name, check=False).stdout.strip()


def _build(engine: Engine, *arguments: str | Path) -> None:
    options: tuple[str, ...] = ()
    if engine.name == "podman":
        # It needs no more rights than the process has.
        options = ("--isolation", "chroot", "--network", "host")
    command, *rest = arguments
    with tempfile.TemporaryFile("w+") as log:
        done = engine.run(command, *options, *rest, check=False, stdout=log, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            log.seek(0)
            sys.stderr.write(log.read()[-8000:])
            raise ContainerError(f"an image could not be built: {' '.join(map(str, arguments[:7]))}")


def _make_base(engine: Engine, name: str, recipe: str) -> None:
    """Make the base image of Debian's Python, under the names that the image of the same tag has."""
    if shutil.which("debootstrap") is None:
        install_packages("debootstrap")
    with tempfile.TemporaryDirectory(prefix="otel-kfs-debian-") as scratch:
        root = Path(scratch, "root")
        command = ["debootstrap", "--variant=minbase", "--include=python3,python3-venv", DEBIAN, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ContainerError(f"debootstrap failed: {done.stdout.strip()[-500:]}")
        (root / "usr/local/bin/python").symlink_to("../../bin/python3")
        next(root.glob("usr/lib/python3.*/EXTERNALLY-MANAGED")).unlink()
        tar = ["tar", "-C", str(root), "--exclude=./var/cache/apt/archives/*.deb", "--exclude=./usr/share/doc/*",
               "--exclude=./var/lib/apt/lists/*", "-c", "."]  # fmt: skip
        with subprocess.Popen(tar, stdout=subprocess.PIPE) as packed:
            engine.run("import", "--change", f"LABEL {STAND_IN}={recipe}", "-", name, stdin=packed.stdout)


def _make_kafka(engine: Engine, name: str, recipe: str) -> None:
    with tempfile.TemporaryDirectory(prefix="otel-kfs-kafka-") as scratch:
        context = Path(scratch, "context")
        shutil.copytree(HERE / "kafka", context)
        shutil.copytree(services.fetch("kafka") / "libs", context / "libs")
        _build(engine, "build", "--tag", name, "--label", f"{STAND_IN}={recipe}", context)


def _make_jaeger(engine: Engine, name: str, recipe: str) -> None:
    _make_program(engine, services.fetch("jaeger"), name, recipe)


def _make_prometheus(engine: Engine, name: str, recipe: str) -> None:
    _make_program(engine, services.fetch("prometheus"), name, recipe)


def _make_collector(engine: Engine, name: str, recipe: str) -> None:
    validate.fetch("collector")
    _make_program(engine, validate.folder("collector") / "otelcol", name, recipe)


def _make_program(engine: Engine, program: Path, name: str, recipe: str) -> None:
    """Make an image of one executable and the libraries that it was linked with."""
    if platform.system() != "Linux":
        raise ContainerError("the stand-ins are made on Linux only: set OTEL_KFS_IMAGES=pull")
    with tempfile.TemporaryDirectory(prefix="otel-kfs-program-") as scratch:
        root = Path(scratch, "root")
        (root / "tmp").mkdir(parents=True)
        shutil.copy2(program, root / "program")
        linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", linked):
            target = root / library.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, target)
        options = ["--file", HERE / "program" / "Dockerfile", "--tag", name, "--label", f"{STAND_IN}={recipe}"]
        _build(engine, "build", *options, scratch)


def _pip_secrets(folder: Path) -> list[str]:
    """Return the build's options that hand this machine's settings of pip on; none where it has none."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    # Variables of the environment come last, as they count most.
    found = sorted(re.findall(r"^(:env:|global)\.([\w-]+)='(.*)'$", listed, re.MULTILINE), reverse=True)
    settings = {key: value for _, key, value in found}
    options = []
    certificate = settings.get("cert")
    if certificate:
        settings["cert"] = "/run/secrets/certificate"
        options += ["--secret", f"id=certificate,src={Path(certificate).resolve()}"]
    taken = {"cert", "index-url", "extra-index-url", "trusted-host", "proxy", "timeout"} & settings.keys()
    if not taken:
        return []
    file = folder / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{key} = {settings[key]}\n" for key in sorted(taken)), "utf-8")
    return [*options, "--secret", f"id=pip,src={file}"]
