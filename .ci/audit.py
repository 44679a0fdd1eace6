"""Looks pinned versions up among known vulnerabilities, with pip-audit (PyPI's JSON API), and says what it found.

    python .ci/audit.py [--all] .ci/constraints-kfserving.txt .ci/constraints-kserve.txt

The exit code is 1 where there is a vulnerability, and with --all also where a package could not be looked up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

Found = tuple[list[str], bool, bool]  # lines to print; whether there is a vulnerability; whether all was looked up


def looked_up(pinned: Path) -> tuple[dict[str, Any] | None, str]:
    """pip-audit's document about the packages in a file, or None and why there is none."""
    options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    command = [sys.executable, "-m", "pip_audit", *options, "--requirement", str(pinned)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return None, (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    return document, ""


def summed_up(name: str, document: dict[str, Any] | None, why: str = "") -> Found:
    """Return what a document says about the packages in the file of this name."""
    if document is None:
        return [f"{name}: NOT AUDITED: {why}"], False, False
    packages = document["dependencies"]
    lines = []
    for package in packages:
        for known in package.get("vulns", ()):
            mended = ", ".join(known["fix_versions"]) or "no version yet"
            lines.append(f"{name}: {package['name']} {package['version']}: {known['id']}, mended in {mended}")
    reasons = Counter(_reason(package) for package in packages if "skip_reason" in package)
    skipped = reasons.total()
    lines += [f"{name}: NOT AUDITED: {count} packages: {reason}" for reason, count in reasons.items()]
    vulnerable = sum(bool(package.get("vulns")) for package in packages)
    lines.append(f"{name}: {len(packages) - skipped} of {len(packages)} packages audited, {vulnerable} vulnerable")
    return lines, vulnerable > 0, skipped == 0


def _reason(package: dict[str, Any]) -> str:
    """Why a package was skipped, without its own name, so that equal reasons are counted as one."""
    reason = str(package["skip_reason"])
    return reason.partition(f": {package['name']} ")[0]


def main() -> None:
    """Audit the files that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pinned", nargs="+", type=Path, help="requirements of the form name==version")
    parser.add_argument("--all", action="store_true", help="fail where a package could not be looked up")
    options = parser.parse_args()
    bad = False
    for pinned in options.pinned:
        lines, vulnerable, whole = summed_up(pinned.name, *looked_up(pinned))
        print(*lines, sep="\n", flush=True)
        bad = bad or vulnerable or (options.all and not whole)
    sys.exit(int(bad))


if __name__ == "__main__":
    main()
