"""A reading as data frames: the rows' numbers, by types that do not depend on what the traces lack."""

from __future__ import annotations

import sys

import pytest

import otel_kfs
from otel_kfs.errors import ConfigError, MissingExtra

WHAT = ["images", "segments", "summary"]
NAMES = ["transport", "encoding", "compression", "cell", "size", "segment", "clocks"]


def rows(reading: otel_kfs.Reading, what: str) -> list[dict[str, object]]:
    return [dict(row) for row in getattr(reading, what)()]


@pytest.mark.notebook
@pytest.mark.parametrize("what", WHAT)
def test_a_table_of_arrow_holds_the_rows(of_this_project, what):
    assert of_this_project.to_arrow(what).to_pylist() == rows(of_this_project, what)


@pytest.mark.notebook
@pytest.mark.parametrize("what", WHAT)
def test_a_frame_of_pandas_holds_the_rows(of_this_project, what):
    frame = of_this_project.to_pandas(what)
    assert frame.astype(object).where(frame.notna(), None).to_dict("records") == rows(of_this_project, what)
    assert {str(frame[name].dtype) for name in NAMES} == {"category"}
    assert {str(frame[name].dtype) for name in frame if name.endswith(("_ns", "_bytes"))} == {"int64", "Int64"}


@pytest.mark.notebook
def test_what_is_always_there_is_int64_in_pandas_and_what_may_be_missing_is_int64_with_na(of_this_project):
    frame = of_this_project.to_pandas()
    fields = ("stamp_1_ns", "stamp_2_ns", "duration_ns", "clock_bound_ns")
    assert [str(frame[name].dtype) for name in fields] == ["int64", "Int64", "int64", "Int64"]


@pytest.mark.notebook
@pytest.mark.parametrize("what", WHAT)
def test_a_frame_of_polars_holds_the_rows(of_this_project, what):
    frame = of_this_project.to_polars(what)
    assert frame.to_dicts() == rows(of_this_project, what)
    assert {str(frame.schema[name]).partition("(")[0] for name in NAMES} == {"Categorical"}
    assert {str(frame.schema[name]) for name in frame.columns if name.endswith(("_ns", "_bytes"))} == {"Int64"}


@pytest.mark.notebook
def test_segments_of_an_image_add_up_in_a_frame(run_of):
    frame = otel_kfs.read(run_of(5)).to_pandas()
    sums = frame.groupby(["trace_id", "root_span_id"])["duration_ns"].sum()
    totals = frame.groupby(["trace_id", "root_span_id"])[["stamp_1_ns", "stamp_4_ns"]].first()
    assert (sums == totals.stamp_4_ns - totals.stamp_1_ns).all()
    assert len(sums) == 10


@pytest.mark.notebook
def test_what_is_none_of_the_three_is_an_error(of_this_project):
    with pytest.raises(ConfigError, match=r"^what is 'traces'; it is one of images, segments, summary$"):
        of_this_project.to_arrow("traces")


@pytest.mark.parametrize(
    ("library", "ask"), [("pandas", "to_pandas"), ("polars", "to_polars"), ("pyarrow", "to_arrow")], ids=str
)
def test_a_missing_library_is_answered_with_the_extra_that_brings_it(monkeypatch, of_this_project, library, ask):
    monkeypatch.setitem(sys.modules, library, None)
    extra = "arrow" if library == "pyarrow" else library
    with pytest.raises(MissingExtra, match=rf"^{library} is not installed; .*pip install '\.\[{extra}\]'$"):
        getattr(of_this_project, ask)()
