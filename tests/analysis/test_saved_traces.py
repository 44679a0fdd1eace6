"""A small real run, saved as it was written: one image each way and a warm-up, and the tables that belong to it."""

import json
from pathlib import Path

import pytest

from otel_kfs.analysis import pipeline
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.report import render
from otel_kfs.report.tables import rows
from otel_kfs.traces import query
from otel_kfs.traces.span import SpanGraph

DATA = Path(__file__).parents[1] / "data"
TRACES = DATA / "traces"


@pytest.fixture(scope="module")
def found():
    """Journeys, and their account."""
    return critical_paths(SpanGraph(query.spans(str(TRACES))))


@pytest.fixture(scope="module")
def raw():
    """Every span as it stands in the files, read with nothing of the package's."""
    return [
        span
        for file in sorted(TRACES.glob("*.jsonl"))
        for line in file.read_text().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def attribute(span, key):
    values = [item["value"] for item in span.get("attributes", []) if item["key"] == key]
    return next(iter(values[0].values())) if values else None


def stamps_of(transport, raw):
    """Stamps 1 to 4 of the one measured image of a transport, by their definitions."""
    (root,) = [
        span
        for span in raw
        if span["name"] == "send image"
        and attribute(span, "otel_kfs.transport") == transport
        and not attribute(span, "otel_kfs.warmup")
    ]
    trace = {span["spanId"]: span for span in raw if span["traceId"] == root["traceId"]}

    def first(name):
        return min((s for s in trace.values() if s["name"] == name), key=lambda s: int(s["startTimeUnixNano"]))

    # The transformer has the whole body; it has preprocessed; whoever asked has the answer.
    back = first("process mobilenet") if transport == "kafka" else root
    return (
        int(root["startTimeUnixNano"]),
        int(first("receive")["endTimeUnixNano"]),
        int(first("preprocess")["endTimeUnixNano"]),
        int(back["endTimeUnixNano"]),
    )


def test_every_image_is_accounted_for(found):
    assert found[1] == Coverage(measured=2, left_out={"warm-up": 1})


def test_the_tables_are_what_they_were(found):
    cells = measured(found[0]).all_series()
    printed = render.text([*rows.seed_tables(cells), *rows.segment_tables(cells)])
    assert printed == (DATA / "tables.txt").read_text()


def test_the_same_is_read_as_a_stream(found):
    whole = measured(*found)
    whole.sort()
    assert pipeline.read(query.open_store(str(TRACES))) == whole


@pytest.mark.parametrize("transport", ["http", "kafka"])
def test_every_stamp_is_the_edge_of_a_span_that_defines_it(found, raw, transport):
    (path,) = [path for path in found[0] if path.transport == transport]
    assert path.stamps == stamps_of(transport, raw)


def test_segments_add_up_to_4_1(found):
    sums = [sum(section.duration for section in path.sections) for path in found[0]]
    assert sums == [path.stamps[3] - path.stamps[0] for path in found[0]]


def test_no_segment_stands_in_for_a_missing_span(found):
    assert [one for path in found[0] for one in path.sections if one.segment.missing] == []


def test_one_host_has_one_clock(found):
    assert [one for path in found[0] for one in path.sections if one.hosts or one.duration < 0] == []


def test_the_files_say_nothing_of_the_machine_they_come_from(raw):
    hosts = {
        item["value"]["stringValue"]
        for file in TRACES.glob("*.jsonl")
        for line in file.read_text().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for item in resource["resource"]["attributes"]
        if item["key"] == "host.name"
    }
    addresses = {
        value
        for span in raw
        for key in ("client.address", "network.peer.address")
        if (value := attribute(span, key)) is not None
    }
    assert (hosts, addresses) == ({"demo-host"}, {"127.0.0.1"})
