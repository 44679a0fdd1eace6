"""The front door: from a trace query to measured images, with the clocks of hosts corrected."""

import json

import pytest
from msgspec.structs import replace
from traces_builder import HTTP, MS, otlp_line, segment, spans, with_options

from otel_kfs.analysis.corrected_measurement import read, read_sketches
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.errors import TraceQueryError

TO_TRANSFORMER = segment("transformer request")
ABOUT_25_MS = pytest.approx(25 * MS, abs=MS)  # between the drawn 20 ms of the request and 30 ms of its answer


@pytest.fixture
def query(tmp_path):
    """An image whose server's clock is 5 s ahead of the sender's, and one that failed."""
    ahead = 5000 * MS
    drawn = [
        replace(span, start=span.start + ahead, end=span.end + ahead) if span.host == "server" else span
        for span in spans(with_options(HTTP, "POST /v1/models", "@server"))
    ]
    lines = [otlp_line(spans(with_options(HTTP, "POST", "failed"), "b"))]
    for host in ("host", "server"):
        line = json.loads(otlp_line([span for span in drawn if span.host == host]))
        line["resourceSpans"][0]["resource"] = {"attributes": [{"key": "host.name", "value": {"stringValue": host}}]}
        lines.append(json.dumps(line) + "\n")
    file = tmp_path / "traces.jsonl"
    file.write_text("".join(lines))
    return str(file)


def test_images_come_in_series_with_the_clocks_corrected_and_what_was_left_out(query):
    found = read(query, processes=1)
    (series,) = found.series
    assert list(series.segments[TO_TRANSFORMER].values) == [ABOUT_25_MS]
    assert found.bounds[series.labels, series.size, TO_TRANSFORMER] == ABOUT_25_MS
    assert (found.hosts, found.coverage) == (
        ["host", "server"],
        Coverage(measured=1, left_out={"the request failed": 1}),
    )


@pytest.mark.sketch
def test_sketches_are_of_the_same_images(query):
    found = read_sketches(query, processes=1)
    (series,) = found.series
    assert (series.columns()[TO_TRANSFORMER].mean, found.hosts, found.coverage) == (
        ABOUT_25_MS,
        ["host", "server"],
        Coverage(measured=1, left_out={"the request failed": 1}),
    )


def test_single_traces_can_be_read_again(query):
    store = read(query, processes=1).store
    ids = {span.trace_id for span in store.spans()}
    assert {span.trace_id for span in store.traces([min(ids)])} == {min(ids)}


def test_a_query_that_can_t_be_answered_is_an_error(tmp_path):
    with pytest.raises(TraceQueryError):
        read(str(tmp_path / "nothing.jsonl"))


def test_a_run_s_images_are_those_of_that_run_even_where_a_trace_has_others(tmp_path):
    file = tmp_path / "traces.jsonl"
    days = {"m": "monday", "t": "tuesday", "u": "monday"}
    drawn = [
        replace(span, trace_id="a")
        for trace, run in days.items()
        for span in spans(with_options(HTTP, "send image", f"run={run}"), trace)
    ]
    file.write_text(otlp_line(drawn))
    measured = {
        run: read(f"{file}?run={run}", processes=1).coverage.measured for run in ("monday", "tuesday", "sunday")
    }
    assert measured == {"monday": 2, "tuesday": 1, "sunday": 0}
