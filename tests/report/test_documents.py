"""From a measurement to what is asked for: tables, records, a document, a file."""

import pytest
from traces_builder import critical_path_of

from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement, corrected
from otel_kfs.analysis.duration_sketch import Sketches
from otel_kfs.analysis.measurement import Measurement, measured
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.report import documents
from otel_kfs.report.answer import answer


def measurement_of(*paths: str) -> Measurement:
    return measured(map(critical_path_of, paths), Coverage(measured=len(paths), left_out={"warm-up": 2}))


FOUND = corrected(measurement_of("client 10, encode 20", "client 30, encode 40"))


def test_tables_and_bars_come_in_the_order_in_which_they_are_asked_for():
    titles = [block.title for block in documents.blocks(FOUND, ("bars", "segments", "seed"))]
    assert titles == [
        "HTTP: where the time goes",
        "HTTP: segments, milliseconds",
        "HTTP: seconds",
        "HTTP: unix time",
    ]


def test_records_are_of_stamps_or_of_segments():
    assert [record["n"] for record in documents.records(FOUND, "seed")] == [2]
    assert [record["segment"] for record in documents.records(FOUND, "statistics")] == ["client", "encode", "4-1"]


def test_a_document_has_each_layout_and_what_became_of_the_images():
    document = documents.document(FOUND, ("seed", "segments"))
    assert document == {
        "answer": answer(FOUND).data,
        "seed": documents.records(FOUND, "seed"),
        "segments": documents.records(FOUND, "segments"),
        "account": {"measured": 2, "left_out": {"warm-up": 2}, "retried": 0, "redelivered": 0, "in_batches": 0},
        "size_tolerance": 0.01,
        "clocks": [],
    }


@pytest.mark.sketch
def test_a_document_of_sketches_says_how_exact_percentiles_are():
    sketches = Sketches()
    sketches.take(measurement_of("client 10"), None)
    found = CorrectedMeasurement(*sketches.correct_skew(), {}, Coverage(measured=1))
    assert documents.document(found, ("segments",))["percentiles_within"] == 0.01


@pytest.mark.parametrize(("format_", "beginning"), [("html", "<!doctype html>"), ("svg", "<svg"), ("png", b"\x89PNG")])
def test_a_file_is_the_page_or_its_charts_and_names_no_password(format_, beginning):
    said = []
    content = documents.file_of(
        FOUND,
        format_,
        query="jaeger:http://user:secret@host:16686",
        command="otel-kfs report",
        charts=("segments",),
        progress=said.append,
    )
    assert content[: len(beginning)].lower() == beginning.lower()
    assert (b"secret" if format_ == "png" else "secret") not in content
    assert said == ["computing the figures", "drawing the charts"]
