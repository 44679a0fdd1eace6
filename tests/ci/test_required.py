"""What CI requires of a machine can't be left out of the tests unnoticed, by however many processes they are run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_run_that_lacks_what_it_requires_ends_before_its_first_test(workers):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", workers, "tests/analysis/test_seed.py"]
    environment = {"OTEL_KFS_TESTS_REQUIRED": "curl", "PATH": "/nowhere", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "ERROR: tests marked curl are required, but curl is missing\n\n")
