"""Answers are read as servers write them, and written down again without a change and without an error."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kfs.client.encodings import answer_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec=None)),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
)


@given(st.dictionaries(st.text(), VALUES))
def test_what_is_written_is_read_again_as_it_was(record):
    written = answer_json.dumps(record)
    assert (answer_json.loads(written), b"\n" in written) == (record, False)


@given(VALUES)
def test_what_python_s_json_writes_is_read_as_it_reads_it(value):
    assert answer_json.loads(json.dumps(value).encode()) == json.loads(json.dumps(value))


def test_nan_and_infinity_are_written_as_python_s_servers_write_them():
    assert answer_json.dumps({"a": [math.nan, math.inf, -math.inf]}) == b'{"a":[NaN,Infinity,-Infinity]}'


def test_bytes_are_written_as_v1_has_them():
    assert answer_json.dumps({"data": [b"\xff\xd8", "text"]}) == b'{"data":[{"b64":"/9g="},"text"]}'


def nested(depth):
    found = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize("depth", [300, 100_000])
def test_any_nesting_is_a_line(depth):
    line = json.loads(answer_json.dumps({"file": "a.jpg", "answer": nested(depth)}))
    assert line["file"] == "a.jpg"
    assert depth > 300 or line["answer"] == nested(depth)


def test_what_has_no_json_is_said_in_its_place():
    assert answer_json.dumps({"file": "a.jpg", "answer": object()}) == (
        b'{"file":"a.jpg","answer":{"not printed":"TypeError: JSON has no value of type object"}}'
    )
