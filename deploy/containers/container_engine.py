"""The container engine: Docker where it runs, else Podman, installed from Debian's packages where it is missing."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PODMAN_PACKAGES = (
    *("podman", "buildah", "runc", "crun", "uidmap", "catatonit"),
    *("netavark", "aardvark-dns", "containernetworking-plugins", "iptables"),
)
ULIMIT = 4096


class ContainerError(Exception):
    """There is no engine that works, or a command of it failed."""


def say(text: str) -> None:
    """Print one progress line to stderr."""
    print(f"containers: {text}", file=sys.stderr, flush=True)


def cache_dir() -> Path:
    """Return the folder, outside the source tree, for Podman's storage and settings."""
    own = os.environ.get("OTEL_KFS_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-kfs"
    return base.expanduser().absolute() / "containers"


@contextmanager
def alone() -> Iterator[None]:
    """Wait for other runs on this machine: they use the same ports and Podman's storage."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Engine:
    """A container engine by the name of its program, and the environment that it runs in."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine to its end; the options are those of subprocess.run."""
        command = [self.name, *map(str, arguments)]
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment},
            text=True,
            errors="replace",
            check=False,
            **{"capture_output": "stdout" not in options, "stdin": subprocess.DEVNULL, **options},
        )
        if check and done.returncode != 0:
            # One who asks for both streams in one has them in `stdout`.
            last = (done.stderr or done.stdout or "").strip().splitlines()[-5:]
            raise ContainerError(f"failed with exit code {done.returncode}: {' '.join(command[:6])}: {' '.join(last)}")
        return done

    def output(self, *arguments: str | Path) -> str:
        """Return what a command of the engine prints, without spaces around it."""
        return self.run(*arguments).stdout.strip()


def find_engine(install: Callable[[], None] | None = None) -> Engine:
    """Return Docker if its engine answers, else Podman; `install` is called where there is neither."""
    wanted = os.environ.get("OTEL_KFS_ENGINE")
    if wanted in (None, "docker") and shutil.which("docker"):
        docker = Engine("docker")
        if docker.run("info", check=False).returncode == 0:
            return docker
    if wanted == "docker":
        raise ContainerError("OTEL_KFS_ENGINE asks for docker, and no Docker engine answers")
    # The latter is process 1 of `init: true`.
    if shutil.which("podman") is None or shutil.which("catatonit") is None:
        if install is None:
            raise ContainerError("neither Docker's engine nor Podman with its catatonit is on this machine")
        install()
    return _podman()


def install_podman() -> None:
    """Install Podman from Debian's packages, as root."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ContainerError("neither Docker's engine nor Podman is here, and only root on Debian can install Podman")
    install_packages(*PODMAN_PACKAGES)


def install_packages(*names: str) -> None:
    """Install Debian's packages."""
    say(f"installing {', '.join(names)}")
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *names]):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(
            ["apt-get", "-qq", *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ContainerError(f"apt-get {command[0]} failed: {done.stderr.strip()}")


def _podman() -> Engine:
    """Return Podman with settings and a storage of its own: a run never touches another's containers or images."""
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    # Podman asks for a million of each, which not every process may have.
    most = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    limits = {name: min(ULIMIT, resource.getrlimit(kind)[1] % (1 << 63)) for name, kind in most.items()}
    ulimits = [f'"{name}={limit}:{limit}"' for name, limit in limits.items()]
    lines = {
        "containers.conf": [
            "[containers]",
            f"default_ulimits = [{', '.join(ulimits)}]",
            'log_driver = "k8s-file"',
            "[engine]",
            # No systemd is needed; runc takes every layout of cgroups, which older versions of crun do not.
            'cgroup_manager = "cgroupfs"',
            'events_logger = "file"',
            *(['runtime = "runc"'] if shutil.which("runc") else []),
            "[network]",
            'network_backend = "netavark"',
        ],
        "storage.conf": [
            "[storage]",
            'driver = "overlay"',
            f'graphroot = "{folder / "storage"}"',
            f'runroot = "{Path(tempfile.gettempdir(), f"otel-kfs-containers-{os.getuid()}")}"',
        ],
        "registries.conf": ['unqualified-search-registries = ["docker.io"]'],
    }
    for name, text in lines.items():
        (folder / name).write_text("\n".join(text) + "\n", "utf-8")
    return Engine(
        "podman",
        {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        },
    )
