"""Traces of other programs in front of a model server and behind one: their whole tables."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from otel_kfs.cli import main

CASES = Path(__file__).parents[1] / "data" / "cases"


@pytest.mark.parametrize("case", sorted(file.name for file in CASES.glob("*.json*")))
def test_the_tables_of_a_trace_are_these(case):
    file = CASES / case
    result = CliRunner().invoke(main, ["tables", "--trace-query", str(file)])
    assert (result.exit_code, result.output) == (0, file.with_suffix(".txt").read_text())
