"""deploy/compose.yaml as it stands, run by Docker Compose or by podman-compose, and what its containers say.

podman-compose takes compose.podman.yaml besides, which has addresses alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from container_engine import HERE, ContainerError, Engine

sys.path.append(str(HERE.parent / "validate"))
import validate

COMPOSE_FILE = HERE.parent / "compose.yaml"
# What is added to it: two watches, and Prometheus.
WATCH_FILE = HERE.parent / "compose.watch.yaml"
PODMAN_FILE = HERE / "compose.podman.yaml"
PROJECT = "otel-kfs"
LIMIT = 300.0
LINES_SHOWN = 60


class Compose:
    """The containers of deploy/compose.yaml."""

    def __init__(self, engine: Engine, environment: Mapping[str, str] | None = None) -> None:
        """Take the engine, and what compose.yaml reads of the environment."""
        self.engine = engine
        self._environment = {**engine.environment, **(environment or {})}
        self._separator = "-" if engine.name == "docker" else "_"
        self._files = [COMPOSE_FILE]
        if engine.name == "docker":
            self._command = ["docker", "compose"]
        else:
            self._files.append(PODMAN_FILE)
            self._command = [sys.executable, "-m", "podman_compose", "--in-pod=false"]
            self._command += ["--podman-path", str(HERE / "podman_for_compose.py")]
            self._environment["PYTHONPATH"] = str(validate.folder("podman-compose"))
        self.network = f"{PROJECT}_default"

    def up(self) -> None:
        """Start every service without a profile, each once those that it depends on are ready."""
        self._run("up", "--detach", "--no-build", limit=2 * LIMIT)

    def up_with_watches(self) -> None:
        """Add what compose.watch.yaml has to what is running: its services, and the Collector anew before them."""
        options = ("up", "--detach", "--no-build", "--no-deps")
        # podman-compose starts anew what depends on the Collector, too: here all do.
        anew = ("--force-recreate", "collector", "predictor", "transformer")
        for services in (("watch-1", "watch-2", "prometheus"), anew):
            self._run(*options, *services, limit=LIMIT, watches=True)

    def start_sender(self, service: str, **environment: str) -> None:
        """Start a sender anew, alone, with what compose.yaml reads of this environment."""
        options = ("--profile", "sender", "up", "--detach", "--no-build", "--no-deps", "--force-recreate", service)
        self._run(*options, limit=LIMIT, environment=environment)

    def down(self) -> None:
        """Take away every container, network and volume of the project."""
        self._run("--profile", "sender", "down", "--volumes", "--timeout", "10", limit=LIMIT, watches=True)

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return self._separator.join((PROJECT, service, "1"))

    def inspect(self, service: str) -> dict[str, Any]:
        """Return all that the engine knows of a service's container."""
        (found,) = json.loads(self.engine.output("container", "inspect", self.container(service)))
        return dict(found)

    def names(self, service: str) -> list[str]:
        """Return the options that give another container the names that a service's own has in /etc/hosts."""
        return [f"--add-host={each}" for each in self.inspect(service)["HostConfig"]["ExtraHosts"] or ()]

    def address(self, container: str) -> str:
        """Return a container's address in the network of the services."""
        (found,) = json.loads(self.engine.output("container", "inspect", container))
        return str(found["NetworkSettings"]["Networks"][self.network]["IPAddress"])

    def execute(self, service: str, *command: str) -> str:
        """Return what a command prints inside of a service's container."""
        return self.engine.output("exec", self.container(service), *command)

    def kill(self, service: str) -> None:
        """Kill a service's container, and start it again."""
        self.engine.run("kill", self.container(service))
        self.engine.run("start", self.container(service))

    @contextmanager
    def without_network(self, service: str) -> Iterator[None]:
        """Lose every packet that a service's container sends or should get, loopback's aside (Linux, as root)."""
        pid = str(self.inspect(service)["State"]["Pid"])
        lost = (["INPUT", "!", "--in-interface", "lo"], ["OUTPUT", "!", "--out-interface", "lo"])

        def for_each(change: str) -> None:
            for rule in lost:
                command = ["nsenter", "--target", pid, "--net", "iptables", change, *rule, "--jump", "DROP"]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    raise ContainerError(f"{service}'s network can't be changed: {done.stderr.strip()}")

        for_each("--insert")
        try:
            yield
        finally:
            for_each("--delete")

    def limit_memory(self, service: str, megabytes: int) -> None:
        """Set the limit of a running service's container; swap is no way around it."""
        limit = f"{megabytes}m"
        self.engine.run("update", "--memory", limit, "--memory-swap", limit, self.container(service))

    def restarts(self, service: str) -> int:
        """Return how often the engine has started a service's container again by itself."""
        return int(self.inspect(service)["RestartCount"])

    def logs(self, service: str) -> str:
        """Return all that a service has printed."""
        return self._printed(self.container(service))

    def _printed(self, container: str) -> str:
        done = self.engine.run("logs", container, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.stdout

    def is_healthy(self, service: str) -> bool:
        """Tell whether a service's own health check succeeds."""
        if self.engine.name == "docker":
            return bool(self.inspect(service)["State"]["Health"]["Status"] == "healthy")
        return self.engine.run("healthcheck", "run", self.container(service), check=False).returncode == 0

    def wait_for_end(self, service: str, limit: float = LIMIT) -> int:
        """Wait for a service's container to end, and return its exit code."""
        try:
            return int(self.engine.run("wait", self.container(service), timeout=limit).stdout)
        except subprocess.TimeoutExpired as error:
            raise ContainerError(f"{service} has not ended in {limit:.0f} s\n{self.last_lines(service)}") from error

    def wait_until_healthy(self, service: str, limit: float = LIMIT) -> None:
        """Wait until a service's own health check succeeds."""
        until = time.monotonic() + limit
        while not self.is_healthy(service):
            if time.monotonic() > until:
                raise ContainerError(f"{service} is not healthy after {limit:.0f} s\n{self.last_lines(service)}")
            time.sleep(1)

    def last_lines(self, *services: str) -> str:
        """Return what these services printed last, or all containers did."""
        every = [self.container(service) for service in services] or self._containers()
        return "\n".join(
            f"--- {container}\n" + "\n".join(self._printed(container).splitlines()[-LINES_SHOWN:])
            for container in every
        )

    def _containers(self) -> list[str]:
        """Return the names of the project's containers, and of all others, such as pods', in a storage that is ours."""
        names = self.engine.output("ps", "--all", "--format", "{{.Names}}").split()
        return [
            name for name in names if self.engine.name == "podman" or name.startswith(f"{PROJECT}{self._separator}")
        ]

    def _run(
        self, *arguments: str, limit: float, environment: Mapping[str, str] | None = None, watches: bool = False
    ) -> None:
        files = [*self._files, WATCH_FILE] if watches else self._files
        command = [*self._command, *(f"--file={file}" for file in files), *arguments]
        with subprocess.Popen(
            command,
            env={**os.environ, **self._environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as started:
            try:
                output, _ = started.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                started.kill()
                output, _ = started.communicate()
                raise ContainerError(
                    f"compose {arguments[0]} has not ended in {limit:.0f} s\n{output}\n{self.last_lines()}"
                ) from None
            except BaseException:
                started.kill()
                raise
        if started.returncode != 0:
            raise ContainerError(f"compose {' '.join(arguments)} failed\n{output}\n{self.last_lines()}")
