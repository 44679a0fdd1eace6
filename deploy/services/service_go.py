"""Builds a service's program from its Go module, once."""

from __future__ import annotations

import os
from pathlib import Path

from service_process import ServiceError, beside, cache_dir, finished, program, say


def build(name: str, module: str, version: str, package: str, tags: str = "") -> Path:
    """Return the program of the module's main package, building it into the cache folder the first time.

    `tags` are Go's build tags, separated by commas.
    """
    target = cache_dir() / f"{name}-{version}"
    if target.is_file():
        return target
    go = program("go", f"install Go, which builds {name}")
    say(f"building {name} {version} as {target}; that takes minutes")
    with beside(target) as partial:
        # `go install ...@version` refuses modules that replace others; a module that needs this one does not care.
        for arguments in (
            ["mod", "init", "services"],
            ["get", "-tool", f"{module}/{package}@{version}"],
            ["build", "-trimpath", f"-tags={tags}", "-ldflags=-s -w", "-o", name, f"{module}/{package}"],
        ):
            result = finished([go, *arguments], cwd=partial, env={**os.environ, "GOFLAGS": "", "GOWORK": "off"})
            if result.returncode != 0:
                last = next((line for line in reversed(result.stdout.splitlines()) if line.strip()), "no reason given")
                raise ServiceError(f"Go could not build {name} (go {arguments[0]}): {last.strip()}")
        (partial / name).rename(target)
    say(f"{name} is ready")
    return target
