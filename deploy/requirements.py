"""Prints what otel-kfs needs, by pyproject.toml, with these extras: requirements.py kafka > requirements.txt."""

import sys
from pathlib import Path

import tomllib

project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
needed = project["dependencies"] + [each for extra in sys.argv[1:] for each in project["optional-dependencies"][extra]]
print(*needed, sep="\n")
