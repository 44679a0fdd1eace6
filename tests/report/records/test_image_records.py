"""Every image and segment as a record, beside the figures that tables have of the same traces."""

import csv
import io
import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from recorded_support import servers_of
from report_support import HOSTILE
from traces_builder import HTTP, MS, at, critical_path, critical_path_of, sections, spans

from otel_kfs.analysis.corrected_measurement import corrected, read
from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.report import documents
from otel_kfs.report.records.image_records import ImageRecord, image_records
from otel_kfs.traces.span import SpanGraph

DATA = Path(__file__).parents[2] / "data"
SAVED = [DATA / "traces", *sorted([*DATA.glob("recorded/*.jsonl"), *DATA.glob("cases/*.json*")])]
NAMES = [path.relative_to(DATA).as_posix() for path in SAVED]
WITHOUT_AN_IMAGE = {"recorded/java-console-consumer.jsonl"}
SERIES = ("transport", "encoding", "compression", "cell", "size")


def records_of(*paths):
    measurement = measured(paths)
    measurement.sort()
    return list(image_records(corrected(measurement).series))


def by(records, *fields):
    """Groups of records by the values of some fields, in their order."""
    found = {}
    for record in records:
        found.setdefault(tuple(record[field] for field in fields), []).append(record)
    return found


def test_a_record_is_an_image_s_segment_with_all_that_is_known_of_it():
    drawn = critical_path_of("client 10, encode 20")
    assert records_of(replace(drawn, root_id="b", payload_size=1_500_000, encoding="raw", compression="gzip")) == [
        {
            "trace_id": "a",
            "root_span_id": "b",
            "transport": "http",
            "encoding": "raw",
            "compression": "gzip",
            "cell": "",
            "size": "1.1MB",
            "image_bytes": 1_100_000,
            "payload_bytes": 1_500_000,
            "stamp_1_ns": at(0),
            "stamp_2_ns": at(1),
            "stamp_3_ns": at(2),
            "stamp_4_ns": at(30),
            "segment": segment,
            "place": "client",
            "step": step,
            "duration_ns": duration * MS,
            "clock_bound_ns": None,
            "clocks": "exact",
        }
        for segment, step, duration in (("client", "", 10), ("encode", "encode", 20))
    ]


def test_images_follow_each_other_by_series_and_stamp_1_and_a_segment_that_one_lacks_has_no_record():
    later = replace(critical_path(5, 6, 7, 9, sections=sections("client 1, retries 3", 5)), trace_id="later")
    large = replace(critical_path_of("client 7"), image_size=3_300_000, trace_id="large")
    drawn = [large, later, critical_path_of("client 10, encode 20")]
    assert [(one["trace_id"], one["segment"], one["duration_ns"] // MS) for one in records_of(*drawn)] == [
        ("a", "client", 10),
        ("a", "encode", 20),
        ("later", "client", 1),
        ("later", "retries", 3),
        ("large", "client", 7),
    ]


def test_what_no_span_tells_is_none():
    drawn = replace(critical_path_of("client 10"), image_size=None, stamps=(at(0), None, None, at(10)))
    known = replace(drawn, payload_size=1_500_000, trace_id="b")
    fields = ("image_bytes", "payload_bytes", "size", "stamp_2_ns", "stamp_3_ns")
    assert [tuple(one[field] for field in fields) for one in records_of(drawn, known)] == [
        (None, None, "?", None, None),
        (None, 1_500_000, "1.5MB JSON", None, None),
    ]


def test_a_duration_between_two_hosts_has_its_own_bound():
    drawn = spans(HTTP.replace("SERVER    200  970", "SERVER    200  970  @elsewhere"))
    measurement = corrected(measured(*critical_paths(SpanGraph(drawn))))
    found = [one for one in documents.records(measurement, "images") if one["clocks"] != "exact"]
    # Of the request's time 50 ms are not the server's: half of it either way, and either way as uncertain. What is more
    # is left to the clocks' drift.
    assert [(one["segment"], one["duration_ns"], one["clock_bound_ns"] // MS, one["clocks"]) for one in found] == [
        ("transformer request", 25 * MS, 25, "bounded"),
        ("transformer response", 25 * MS, 25, "bounded"),
    ]


def test_a_duration_that_nothing_bounds_says_so():
    drawn = records_of(critical_path_of("client 10, transformer request 5!"))
    assert [(one["clock_bound_ns"], one["clocks"]) for one in drawn] == [(None, "exact"), (None, "unbounded")]


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_all_images_are_those_of_the_tables(name):
    """Of every saved recording: statistics made of the records by the standard library alone."""
    servers = "&".join(f"server={server}" for server in servers_of(DATA / name))
    measurement = read(f"{DATA / name}?{servers}" if servers else str(DATA / name))
    records = list(documents.records(measurement, "images"))
    assert (not records) == (name in WITHOUT_AN_IMAGE)
    rows = {
        tuple(row[field] for field in (*SERIES, "segment")): (
            row["n"],
            row["mean_ns"],
            row["p50_ns"],
            row["max_ns"],
            row["widest_clock_bound_ns"],
        )
        for row in documents.records(measurement, "statistics")
    }
    images = by(records, *SERIES, "trace_id", "root_span_id")
    totals = {}
    for image, of_image in images.items():
        first, last = of_image[0]["stamp_1_ns"], of_image[0]["stamp_4_ns"]
        assert sum(one["duration_ns"] for one in of_image) == last - first
        totals.setdefault(image[: len(SERIES)], []).append(last - first)
    found = {}
    for key, of_segment in by(records, *SERIES, "segment").items():
        bounds = [one["clock_bound_ns"] for one in of_segment if one["clock_bound_ns"] is not None]
        found[key] = *figures([one["duration_ns"] for one in of_segment]), max(bounds, default=None)
    for key, of_series in totals.items():
        whole = (*key, "4-1")
        found[whole] = *figures(of_series), rows[whole][-1]
    assert found == rows
    assert sum(map(len, totals.values())) == measurement.coverage.measured


def figures(durations):
    return (
        len(durations),
        round(statistics.fmean(durations)),
        round(statistics.median(durations)),
        max(durations),
    )


def test_csv_and_json_hold_the_same_numbers():
    measurement = read(str(DATA / "traces"))
    records = list(documents.records(measurement, "images"))
    text = "".join(documents.pieces(measurement, ["images"], "csv"))
    assert list(csv.DictReader(io.StringIO(text))) == [
        {field: "" if value is None else str(value) for field, value in record.items()} for record in records
    ]
    document = json.loads("".join(documents.pieces(measurement, ["images", "segments"], "json")))
    assert document == {
        **documents.document(measurement, ["segments"]),
        "images": records,
    }


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_names_stay_in_their_cells(hostile):
    measurement = corrected(measured([replace(critical_path_of("client 10"), cell=hostile, trace_id=hostile)] * 2))
    text = "".join(documents.pieces(measurement, ["images"], "csv"))
    heading, *lines = csv.reader(io.StringIO(text))
    assert [len(line) for line in lines] == [len(heading)] * 2 == [len(ImageRecord.__annotations__)] * 2
    assert not any(character < " " for line in lines for cell in line for character in cell)


def test_without_an_image_there_is_no_record_and_json_says_so():
    measurement = corrected(measured([]))
    assert list(documents.records(measurement, "images")) == []
    assert "".join(documents.pieces(measurement, ["images"], "csv")) == ""
    assert json.loads("".join(documents.pieces(measurement, ["images"], "json")))["images"] == []


def test_records_are_made_one_after_the_other():
    """However many images there are, no more of their records are in memory than are being written."""
    measurement = corrected(measured(critical_path_of("client 10, encode 20") for _ in range(3000)))
    pieces = documents.pieces(measurement, ["images"], "csv")
    lines = [piece.count("\n") for piece in pieces]
    assert (sum(lines), max(lines)) == (6001, 1000)
    records = documents.records(measurement, "images")
    assert next(iter(records)) is not next(iter(records))
