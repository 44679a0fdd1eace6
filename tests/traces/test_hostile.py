"""Hostile files and answers become tables or one line: a few of them; benchmarks/fuzz_readers.py tries many."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from random import Random

import hostile_support as hostile
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_kfs.traces import query
from otel_kfs.traces.stores.store_client import StoreClient

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@FEW
@given(st.integers(0, 2**32))
def test_a_hostile_input_gives_tables_or_one_line(seed):
    with tempfile.TemporaryDirectory() as folder:
        assert hostile.try_one(Random(seed), Path(folder)) in {"tables", "refused"}


@FEW
@given(st.binary(max_size=3000))
def test_any_bytes_give_tables_or_one_line(content):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bytes").write_bytes(content)
        assert hostile.tables(f"{folder}/bytes", Random(0)) in {"tables", "refused"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(hostile.KEYS) | st.text(), inner),
    max_leaves=30,
)


@FEW
@given(json_values, st.sampled_from(["jaeger", "tempo"]))
def test_any_json_as_an_answer_gives_tables_or_one_line(document, scheme):
    with pytest.MonkeyPatch.context() as patch:
        answer = hostile.Answer(200, "application/json", json.dumps(document).encode())
        patch.setattr(StoreClient, "_get", lambda *_: answer)
        assert hostile.tables(f"{scheme}:http://127.0.0.1:1", Random(0)) in {"tables", "refused"}


def image(**changes):
    """One span, `send image`, changed."""
    span = {
        "traceId": "a" * 32,
        "spanId": "b" * 16,
        "name": "send image",
        "startTimeUnixNano": "1",
        "endTimeUnixNano": "2",
    }
    return {**span, **changes}


def tables_of(folder, *spans):
    (folder / "t.jsonl").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}) + "\n")
    return hostile.tables(str(folder / "t.jsonl"), Random(1))


def test_parents_in_a_circle_end(tmp_path):
    circle = [
        image(spanId=f"{number:016x}", parentSpanId=f"{(number + 1) % 100 + 1:016x}", kind=3)
        for number in range(1, 101)
    ]
    assert tables_of(tmp_path, image(), image(parentSpanId="b" * 16), *circle) == "tables"


def test_a_chain_of_ten_thousand_servers_ends(tmp_path):
    chain = [
        image(spanId=f"{number:016x}", parentSpanId=f"{number - 1:016x}", kind=2 + number % 2, name="predict")
        for number in range(2, 10_000)
    ]
    assert tables_of(tmp_path, image(spanId=f"{1:016x}"), *chain) == "refused"


def test_hundreds_of_thousands_of_attributes_are_read(tmp_path):
    attributes = [{"key": str(number), "value": {"intValue": "1"}} for number in range(200_000)]
    span = image(attributes=attributes)
    (tmp_path / "t.jsonl").write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))
    (found,) = query.open_store(str(tmp_path / "t.jsonl")).traces(["a" * 32])
    assert len(found.attributes) == 200_000


@pytest.mark.parametrize(
    "changes",
    [
        {"startTimeUnixNano": "16725225600000000000", "endTimeUnixNano": "16725225600000000001"},
        {"startTimeUnixNano": "9", "endTimeUnixNano": "1"},
        {"attributes": [{"key": "otel_kfs.image.size", "value": {"intValue": "9" * 4000}}]},
        {"attributes": [{"key": "otel_kfs.image.size", "value": {"intValue": "-5"}}]},
    ],
    ids=["the year 2500", "negative length", "a size of 4000 digits", "a negative size"],
)
def test_a_hostile_image_changes_nothing_for_the_others(tmp_path, changes):
    whole = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [image(**changes)]}]}]}) + "\n"
    lines = [json.dumps(document) + "\n" for document in hostile.DOCUMENTS["files"]]
    (tmp_path / "t.jsonl").write_text(whole + "".join(lines))
    assert hostile.tables(str(tmp_path / "t.jsonl"), Random(1)) == "tables"
    # The sizes of real images, too.
    (tmp_path / "t.jsonl").write_text("".join(lines).replace('"1112057"', f'"{"9" * 4000}"'))
    assert hostile.tables(str(tmp_path / "t.jsonl"), Random(1)) == "tables"
