"""What `.ci/audit.py` says of pip-audit's documents; their form is that of pip-audit 2.10."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / ".ci" / "audit.py"

SOUND = {"name": "attrs", "version": "26.1.0", "vulns": []}
KNOWN = {"id": "PYSEC-2099-1", "fix_versions": ["99.0"], "aliases": ["CVE-2099-1"], "description": "s"}
BAD = {"name": "aiohttp", "version": "3.14.5", "vulns": [KNOWN, {**KNOWN, "id": "PYSEC-2099-2", "fix_versions": []}]}
SKIPPED = [
    {"name": name, "skip_reason": f"Dependency not found on PyPI and could not be audited: {name} (1.0)"}
    for name in ("anyio", "boto3")
]


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_packages_without_a_known_vulnerability_are_counted(audit):
    assert audit.summed_up("pins", {"dependencies": [SOUND]}) == (
        ["pins: 1 of 1 packages audited, 0 vulnerable"],
        False,
        True,
    )


def test_each_vulnerability_is_a_line_that_says_which_version_mends_it(audit):
    assert audit.summed_up("pins", {"dependencies": [SOUND, BAD]}) == (
        [
            "pins: aiohttp 3.14.5: PYSEC-2099-1, mended in 99.0",
            "pins: aiohttp 3.14.5: PYSEC-2099-2, mended in no version yet",
            "pins: 2 of 2 packages audited, 1 vulnerable",
        ],
        True,
        True,
    )


def test_what_could_not_be_looked_up_is_said_and_counted_by_its_reason(audit):
    assert audit.summed_up("pins", {"dependencies": [SOUND, *SKIPPED]}) == (
        [
            "pins: NOT AUDITED: 2 packages: Dependency not found on PyPI and could not be audited",
            "pins: 1 of 3 packages audited, 0 vulnerable",
        ],
        False,
        False,
    )


def test_a_service_that_is_not_reached_is_said(audit):
    assert audit.summed_up("pins", None, "Connection refused") == (
        ["pins: NOT AUDITED: Connection refused"],
        False,
        False,
    )


@pytest.mark.parametrize(
    ("packages", "more", "code"),
    [([SOUND], [], 0), ([BAD], [], 1), (SKIPPED, [], 0), (SKIPPED, ["--all"], 1), ([SOUND], ["--all"], 0)],
)
def test_it_fails_for_a_vulnerability_and_with_all_for_what_was_not_looked_up(audit, monkeypatch, packages, more, code):
    monkeypatch.setattr(audit, "looked_up", lambda _: ({"dependencies": packages}, ""))
    monkeypatch.setattr("sys.argv", ["audit.py", *more, "pins.txt"])
    with pytest.raises(SystemExit) as end:
        audit.main()
    assert end.value.code == code
