#!/usr/bin/env python3
"""podman as podman-compose needs it, where it is older than 4.6 or there is no systemd to run its health checks.

podman-compose --podman-path deploy/containers/podman_for_compose.py up

It waits for a container's health by running its health check, and leaves out two options: one came later, and only says
how often a check runs at first; by the other, Podman could not start what needs a container that has done its work, for
which podman-compose itself has waited. A read-only container is so as in Docker: Podman would let it write to /tmp.
Everything else goes to podman unchanged.
"""

import os
import subprocess
import sys
import time

PODMAN = os.environ.get("OTEL_KFS_PODMAN", "podman")
STARTUP_INTERVAL = "--health-startup-interval"
# What podman-compose asks for before it waits for health.
WAITS_FOR_HEALTH = "podman version 4.6.0"
PAUSE = 1.0


def main(arguments: list[str]) -> int:
    """Do what podman would do with the arguments, and return its exit code."""
    if arguments[:1] == ["--version"]:
        print(WAITS_FOR_HEALTH)
        return 0
    if arguments[:1] == ["wait"] and "--condition=healthy" in arguments:
        for name in (each for each in arguments[1:] if not each.startswith("-")):
            while not healthy(name):
                time.sleep(PAUSE)
        return 0
    if arguments[:1] in (["create"], ["run"]):
        if STARTUP_INTERVAL in arguments:
            at = arguments.index(STARTUP_INTERVAL)
            del arguments[at : at + 2]
        arguments = [each for each in arguments if not each.startswith("--requires=")]
        arguments.insert(1, "--read-only-tmpfs=false")
    # Signals and terminals reach podman itself.
    os.execvp(PODMAN, [PODMAN, *arguments])
    raise AssertionError("unreachable")


def healthy(name: str) -> bool:
    """Tell whether the container's own health check succeeds now."""
    return subprocess.run([PODMAN, "healthcheck", "run", name], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
