"""Runs deploy/ in containers: finds or installs an engine, makes the images, and runs the tests marked `containers`.

python deploy/containers/containers.py             # in an environment that has otel-kfs and pytest
python deploy/containers/containers.py --images    # only make the images
python deploy/containers/containers.py -k faults   # what else is said goes to pytest

OTEL_KFS_ENGINE is docker or podman; unless it is set, the first that works. OTEL_KFS_IMAGES=pull pulls the images of
others, as is done with Docker; =make makes them of what PyPI, Maven Central, the Go module proxy and Debian have, as is
done with Podman, and needs root, Go and Maven. Podman keeps its images in `containers` in $OTEL_KFS_CACHE, or else in
otel-kfs under $XDG_CACHE_HOME or ~/.cache. Nothing is left running.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from types import FrameType

from container_compose import Compose
from container_engine import ContainerError, Engine, alone, find_engine, install_podman, say
from container_images import TOP, make_images, timed, validate


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit code."""
    # What stops CI is no different from Ctrl-C: all that was started ends.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with alone():
            engine = find_engine(install_podman)
            say(f"the engine is {engine.output('--version')}")
            if engine.name == "podman":
                # The last two build what `podman kube play` runs.
                validate.fetch("podman-compose", "kustomize", "python")
            _clean(engine)
            try:
                with timed("all images"):
                    make_images(engine)
                return 0 if arguments == ["--images"] else _test(engine, arguments)
            finally:
                _clean(engine)
    except ContainerError as error:
        print(f"containers: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130


def _test(engine: Engine, arguments: list[str]) -> int:
    environment = {**os.environ, "OTEL_KFS_TESTS_REQUIRED": "containers", "OTEL_KFS_ENGINE": engine.name}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "containers",
        "--durations=8",
        str(TOP / "tests/deploy"),
        *arguments,
    ]
    with timed("tests"), subprocess.Popen(command, env=environment) as tests:
        try:
            return tests.wait()
        except KeyboardInterrupt:
            # The terminal's Ctrl-C has reached the tests, too; a signal of another kind has not.
            tests.send_signal(signal.SIGINT)
            tests.wait()
            raise


def _clean(engine: Engine) -> None:
    """Take away what an earlier run left, should it have been killed, or this one leaves."""
    with suppress(ContainerError):
        Compose(engine).down()
    if engine.name == "podman":
        # Its storage is ours alone.
        engine.run("pod", "rm", "--all", "--force", check=False)
        engine.run("rm", "--all", "--force", "--time", "0", check=False)
        engine.run("volume", "prune", "--force", check=False)
        engine.run("network", "prune", "--force", check=False)
        # Layers that builds begin from have no name either: those in use are younger.
        engine.run("image", "prune", "--force", "--filter", "until=336h", check=False)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
