"""Builds a service's program from its Go module, once."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from service_process import ServiceError, cache_dir, program, say


def build(name: str, module: str, version: str, package: str) -> Path:
    """Return the program of the module's main package, building it into the cache folder the first time."""
    target = cache_dir() / f"{name}-{version}"
    if target.is_file():
        return target
    go = program("go", f"install Go, which builds {name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"building {name} {version} as {target}; that takes minutes")
    # Where its file is renamed from, so that nobody ever runs half of it.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{name}-partial-") as partial:
        # `go install ...@version` refuses modules that replace others; a module that needs this one does not care.
        for arguments in (
            ["mod", "init", "services"],
            ["get", "-tool", f"{module}/{package}@{version}"],
            ["build", "-trimpath", "-ldflags=-s -w", "-o", name, f"{module}/{package}"],
        ):
            _run([go, *arguments], partial, name)
        Path(partial, name).rename(target)
    say(f"{name} is ready")
    return target


def _run(command: list[str], folder: str, name: str) -> None:
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "GOFLAGS": "", "GOWORK": "off"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        last = next((line for line in reversed(result.stdout.splitlines()) if line.strip()), "no reason given")
        raise ServiceError(f"Go could not build {name} ({' '.join(command[1:3])}): {last.strip()}")
