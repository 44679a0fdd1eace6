"""What `mypy --strict` tells a user of this package: the types of right calls, and which calls are wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "typing"
ROOT = PROGRAMS.parents[1]

# The package itself is looked at as an installed one is: for its types alone.
SETTINGS = """
[mypy]
strict = True
[mypy-otel_kfs.*]
follow_imports = silent
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Each error as (file, line, code)."""
    settings = tmp_path_factory.mktemp("mypy") / "mypy.ini"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--no-pretty", "--no-error-summary"]
    cache = ["--cache-dir", ROOT / ".mypy_cache" / "of-users"]
    ended = subprocess.run(
        [*command, *cache, *PROGRAMS.glob("*.py")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""
    lines = [line for line in ended.stdout.splitlines() if ": note: " not in line]
    matches = [re.fullmatch(r".*?(\w+\.py):(\d+): error: .* {2}\[([\w-]+)\]", line) for line in lines]
    assert None not in matches, ended.stdout
    return {
        (name, int(line), code) for name, line, code in (match.groups() for match in matches if match)
    }, ended.stdout


@pytest.mark.types
@pytest.mark.parametrize("program", ["right_calls.py", "wrong_calls.py"])
def test_the_errors_of_a_program_are_those_that_it_says(found, program):
    expected = {
        (program, number, code)
        for number, line in enumerate((PROGRAMS / program).read_text().splitlines(), 1)
        for code in re.findall(r"# error: ([\w-]+)", line)
    }
    errors, output = found
    assert {error for error in errors if error[0] == program} == expected, output
