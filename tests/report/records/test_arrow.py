"""Records as Arrow tables and Parquet files: the same numbers, by types that are the same whatever the traces hold."""

import io
import sys

import pytest
from traces_builder import critical_path_of

from otel_kfs.analysis.corrected_measurement import corrected
from otel_kfs.analysis.measurement import measured
from otel_kfs.errors import ConfigError, MissingExtra
from otel_kfs.report import documents
from otel_kfs.report.records import arrow
from otel_kfs.report.records.image_records import ImageRecord

TEXT, NAME, NUMBER = "string", "dictionary<values=string, indices=int32, ordered=0>", "int64"
IMAGES = {
    "trace_id": (TEXT, False),
    "root_span_id": (TEXT, False),
    "transport": (NAME, False),
    "encoding": (NAME, False),
    "compression": (NAME, False),
    "cell": (NAME, False),
    "size": (NAME, False),
    "image_bytes": (NUMBER, True),
    "payload_bytes": (NUMBER, True),
    "stamp_1_ns": (NUMBER, False),
    "stamp_2_ns": (NUMBER, True),
    "stamp_3_ns": (NUMBER, True),
    "stamp_4_ns": (NUMBER, False),
    "segment": (NAME, False),
    "place": (NAME, False),
    "step": (NAME, False),
    "duration_ns": (NUMBER, False),
    "clock_bound_ns": (NUMBER, True),
    "clocks": (NAME, False),
}


def types(schema):
    return {field.name: (str(field.type), field.nullable) for field in schema}


@pytest.mark.notebook
def test_whole_numbers_are_int64_ids_are_text_and_names_are_dictionaries():
    assert types(arrow.schema(ImageRecord)) == IMAGES


@pytest.mark.notebook
@pytest.mark.parametrize("layout", ["images", "segments"])
def test_a_parquet_file_holds_the_records(layout, traces_of_this_project):
    from pyarrow import parquet

    content = b"".join(documents.pieces(traces_of_this_project, [layout], "parquet"))
    table = parquet.read_table(io.BytesIO(content))
    assert table.to_pylist() == list(documents.records(traces_of_this_project, layout))


@pytest.mark.notebook
def test_a_table_of_several_batches_has_one_dictionary_for_each_name(monkeypatch, traces_of_this_project):
    monkeypatch.setattr(arrow, "_AT_ONCE", 7)
    records = list(documents.records(traces_of_this_project, "images"))
    table = arrow.table(records, ImageRecord)
    assert (table.to_pylist(), types(table.schema)) == (records, IMAGES)
    assert len({str(chunk.dictionary) for chunk in table.column("segment").chunks}) == 1


@pytest.mark.notebook
def test_a_file_of_several_row_groups_is_written_a_row_group_at_a_time(monkeypatch, traces_of_this_project):
    from pyarrow import parquet

    monkeypatch.setattr(arrow, "_AT_ONCE", 7)
    taken = []

    def records():
        for record in documents.records(traces_of_this_project, "images"):
            taken.append(record)
            yield record

    pieces = arrow.parquet_pieces(records(), ImageRecord)
    first = next(pieces)
    assert len(taken) == 7
    table = parquet.read_table(io.BytesIO(first + b"".join(pieces)))
    assert table.to_pylist() == taken


@pytest.mark.notebook
def test_without_an_image_the_columns_are_the_same():
    from pyarrow import parquet

    nothing = corrected(measured([]))
    table = parquet.read_table(io.BytesIO(b"".join(documents.pieces(nothing, ["images"], "parquet"))))
    assert (types(table.schema), table.num_rows) == (IMAGES, 0)


@pytest.mark.notebook
def test_half_a_character_is_a_question_mark():
    measurement = corrected(measured([critical_path_of("client 10")]))
    (record,) = (one | {"cell": "a\ud800b\u00e9"} for one in documents.records(measurement, "images"))
    assert arrow.table([record], ImageRecord).column("cell").to_pylist() == ["a?b\u00e9"]


def test_without_pyarrow_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"^pyarrow is not installed; .*pip install '\.\[arrow\]'$"):
        arrow.needed()


def test_a_pyarrow_that_can_t_be_imported_is_an_error_with_its_reason(monkeypatch, tmp_path):
    (tmp_path / "pyarrow.py").write_text("raise ImportError('pyarrow requires NumPy 2.0 or newer, found 1.23.5')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pyarrow", raising=False)
    reason = "^pyarrow can't be imported: pyarrow requires NumPy 2.0 or newer, found 1.23.5$"
    with pytest.raises(ConfigError, match=reason):
        arrow.needed()
