"""OTLP's JSON as programs of others write it, taken over HTTP: the same spans as in protobuf and in a file."""

from pathlib import Path

import pytest
from traces_builder import spans_in

from otel_kfs.traces.formats.otlp_protobuf import exported_spans
from otel_kfs.traces.query import open_store
from otel_kfs.watch.receiver.otlp_messages import protobuf_of_json

RECORDED = sorted((Path(__file__).parents[2] / "data" / "recorded").glob("*.jsonl"))


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: file.stem)
def test_a_document_in_json_has_the_spans_that_a_file_of_it_has(file):
    documents = [line for line in file.read_bytes().splitlines() if line.strip()]
    taken = [exported_spans(protobuf_of_json(document)) for document in documents]
    assert [span for spans, _ in taken for span in spans] == spans_in(open_store(str(file)).parts())
    assert sum(left_out.total() for _, left_out in taken) == 0
