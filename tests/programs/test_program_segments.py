"""The ways of images that another program sent under `exec`: its start is a segment, and all of them add up."""

import pytest
from msgspec.structs import replace
from traces_builder import HTTP, KAFKA, sections, spans

from otel_kfs import semconv
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.traces.span import SpanGraph

CURL = HTTP.replace(
    "encode                        INTERNAL   10  110", "start program                 INTERNAL    0  130"
)
PRODUCER = KAFKA.replace(
    "encode                        INTERNAL   10  110", "start program                 INTERNAL    0  130"
)


def of_program(drawing):
    """The drawing's spans as `exec` would have made them."""
    ours = {
        semconv.SEND_IMAGE: {semconv.PROCESS_EXECUTABLE_NAME: "program"},
        "send images": {semconv.ACKNOWLEDGED: False},
    }
    return [replace(span, attributes={**span.attributes, **ours.get(span.name, {})}) for span in spans(drawing)]


def way(drawn):
    """The one path's segments up to the transformer's work."""
    (path,), account = critical_paths(SpanGraph(drawn))
    assert account.left_out == {}
    assert sum(section.duration for section in path.sections) == path.stamps[3] - path.stamps[0]
    return path.sections


def test_a_programs_start_comes_first_and_no_encoding_is_missed():
    assert way(of_program(CURL))[:5] == sections(
        "client 0, program start 130, client 0, transformer request 20, transformer receive 50"
    )


def test_a_program_without_a_known_start_has_none_and_misses_none():
    drawn = [span for span in of_program(CURL) if span.name != semconv.START_PROGRAM]
    assert way(drawn)[:2] == sections("client 130, transformer request 20")


def test_delivery_and_broker_are_one_where_the_acknowledgement_can_not_be_seen():
    assert way(of_program(PRODUCER))[:6] == sections(
        "client 0, program start 130, client 0, hand over 160, deliver + broker 40, bridge 20"
    )


def test_an_acknowledgement_that_can_be_seen_parts_them():
    drawn = [
        replace(span, attributes=dict(span.attributes) | {semconv.ACKNOWLEDGED: True}) for span in of_program(PRODUCER)
    ]
    assert way(drawn)[3:5] == sections("deliver 160, broker 40", 130)


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (130, "client 0, program start 130, client 0, transformer request 0"),
        (125, "client 0, program start 125, client 0, transformer request 0"),
        (0, "client 0, program start 0, client 0, transformer request 0"),
    ],
)
def test_a_request_that_was_placed_too_late_began_when_the_server_had_it(received, expected):
    drawn = [
        replace(span, start=span.start - (150 - received) * 1_000_000) if span.span_id == "a4" else span
        for span in of_program(CURL)
    ]
    assert way(drawn)[:4] == sections(expected)


def test_a_request_before_its_trace_is_left_out_still():
    drawn = [
        replace(span, start=span.start - 151 * 1_000_000) if span.span_id == "a4" else span for span in of_program(CURL)
    ]
    found, account = critical_paths(SpanGraph(drawn))
    assert (found, dict(account.left_out)) == ([], {"`receive` is out of order": 1})


def test_a_sender_of_ours_is_not_given_that_leave():
    drawn = [replace(span, start=span.start - 30 * 1_000_000) if span.span_id == "a4" else span for span in spans(HTTP)]
    found, account = critical_paths(SpanGraph(drawn))
    assert (found, dict(account.left_out)) == ([], {"`receive` is out of order": 1})
