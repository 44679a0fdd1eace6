"""Prints, as constraints for pip, the oldest versions of the needed packages that pyproject.toml allows."""

import re
from pathlib import Path

_BOUND = re.compile(r'"([\w.-]+)>=([\w.]+)')

text = Path("pyproject.toml").read_text()
needed, extras = text.split("[project.optional-dependencies]")
kafka = re.search(r"^kafka = .*$", extras, re.MULTILINE)[0]
others = [bound for bound in _BOUND.findall(extras) if bound[0].startswith("opentelemetry-")]
needed = needed.split("\ndependencies = [")[1]
oldest = dict(sorted({*_BOUND.findall(needed), *_BOUND.findall(kafka), *others}, reverse=True))
print("\n".join(f"{name}=={version}" for name, version in oldest.items()))
