"""Drawn requests that are broken somewhere: each is answered in OTLP's terms, and what is left of it is measured."""

import gzip
import json
import zlib
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from traces_builder import HTTP, KAFKA, spans
from watch_support import as_json, as_protobuf

from otel_kfs.watch.core.live_measurement import LiveMeasurement
from otel_kfs.watch.receiver.http_receiver import HttpError, inflated
from otel_kfs.watch.receiver.intake import Intake, MalformedRequest
from otel_kfs.watch.receiver.otlp_messages import protobuf_of_json

pytestmark = pytest.mark.sketch

REQUESTS = [as_protobuf(spans(drawing)) for drawing in (HTTP, KAFKA)]
DOCUMENT = as_json(spans(HTTP))
LARGEST = 100_000
requests = st.sampled_from(REQUESTS)


@st.composite
def damaged(draw):
    """A request of which some bytes are others, are gone, or are there twice."""
    content = bytearray(draw(requests))
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(0, len(content))), draw(st.integers(0, 20))
        content[at : at + size] = draw(st.binary(max_size=20) | st.just(bytes(content[at : at + 2 * size])))
    return bytes(content)


values = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
values = st.recursive(values, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner))


@st.composite
def documents(draw):
    """A request in JSON in which some values are of another kind."""
    found = json.loads(DOCUMENT)
    for _ in range(draw(st.integers(1, 3))):
        place = found
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or draw(st.integers(0, 4)) == 0:
                place[key] = draw(values)
                break
            place = place[key]
    return found


def taken(request):
    """How many spans a watch counts in a request, which it then measures, and how many it leaves out."""
    intake, live = Intake(), LiveMeasurement(0.0)
    left_out = intake.take(request).total()
    live.add(intake.next(), 0.0)
    live.tick(100.0)
    snapshot = live.finish(200.0)
    assert snapshot.counts.spans == intake.counts.spans
    assert sum(snapshot.since_start.coverage.left_out.values()) + snapshot.since_start.coverage.measured <= 20
    return snapshot.counts.spans, left_out


@settings(max_examples=50)
@given(damaged())
def test_of_a_damaged_request_each_span_is_measured_or_told_or_it_is_no_request_at_all(request):
    try:
        read = ExportTraceServiceRequest.FromString(request)
    except Exception:  # noqa: BLE001 - protobuf's own: then it is no request
        with pytest.raises(MalformedRequest):
            Intake().take(request)
        return
    spans_ = sum(len(scope.spans) for resource in read.resource_spans for scope in resource.scope_spans)
    kept, left_out = taken(request)
    assert kept + left_out >= spans_


@settings(max_examples=50)
@given(documents())
def test_a_document_with_other_values_is_a_request_or_none_and_nothing_else(document):
    with suppress(ValueError):
        taken(protobuf_of_json(json.dumps(document).encode(errors="surrogatepass")))


@settings(max_examples=100)
@given(
    body=st.binary(max_size=200) | st.just(bytes(2 * LARGEST)),
    encoding=st.sampled_from(["gzip", "deflate"]),
    cut=st.integers(0, 250),
    tail=st.binary(max_size=3) | st.just(b"") | st.just(gzip.compress(b"more")),
)
@example(body=b"a", encoding="gzip", cut=250, tail=b"\0")
def test_a_compressed_body_is_whole_or_refused_and_never_larger_than_allowed(body, encoding, cut, tail):
    compressed = (gzip.compress if encoding == "gzip" else zlib.compress)(body)
    sent = compressed[:cut] + tail
    whole = sent == compressed
    if whole and len(body) <= LARGEST:
        assert inflated(sent, encoding, LARGEST) == body
        return
    try:
        found = inflated(sent, encoding, LARGEST)
    except HttpError as error:
        refused = error.code
    else:
        refused = 0
        assert len(found) <= LARGEST
    assert refused in ({413} if whole else {0, 400, 413})
