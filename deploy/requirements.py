"""Prints what otel-kfs needs, by pyproject.toml, with these extras: requirements.py kafka > requirements.txt."""

import re
import sys
from pathlib import Path

import tomllib


def needed(requirements: list[str]) -> list[str]:
    """Return the requirements of others, with those that an extra of ours stands for."""
    found: list[str] = []
    for each in requirements:
        ours = re.fullmatch(r"otel-kfs\[(.*)\]", each)
        found += needed([one for extra in ours[1].split(",") for one in extras[extra]]) if ours else [each]
    return found


project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
extras = project["optional-dependencies"]
print(*needed([*project["dependencies"], f"otel-kfs[{','.join(sys.argv[1:])}]"]), sep="\n")
