"""Fetches a service's jars with Maven, once."""

from __future__ import annotations

import hashlib
from pathlib import Path

from service_process import ServiceError, beside, cache_dir, finished, program, say


def fetch_jars(name: str, pom: Path) -> Path:
    """Return the folder whose `libs` has the jars of the pom's dependencies, copying them there the first time."""
    program("java", "install a Java 17 or newer")
    # The name follows the file, so a changed version is fetched anew and an old one stays usable.
    home = cache_dir() / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if home.is_dir():
        return home
    maven = program("mvn", f"install Apache Maven, which fetches the jars of {name}")
    say(f"fetching the jars of {name} into {home}")
    with beside(home) as partial:
        libs = partial / "libs"
        command = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
        result = finished([*command, "-DincludeScope=runtime", f"-DoutputDirectory={libs}"])
        if result.returncode != 0:
            first = next((line for line in result.stdout.splitlines() if "ERROR" in line), "no reason given")
            raise ServiceError(f"Maven could not fetch the jars of {name}: {first}")
        home.mkdir(exist_ok=True)
        try:
            libs.rename(home / "libs")
        except OSError:
            if not (home / "libs").is_dir():
                raise
    say(f"the jars of {name} are ready")
    return home
