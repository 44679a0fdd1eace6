"""Which trace a request belongs to, told from its headers alone."""

import pytest
from opentelemetry import propagate
from opentelemetry.propagators.composite import CompositePropagator

from otel_kfs.serving.propagation import parent_and_links


def traceparent(digit: str) -> str:
    return f"00-{digit * 32}-{digit * 16}-01"


def linked(headers: dict[str, str]) -> list[str]:
    return [f"{context.span_id:016x}"[0] for context in parent_and_links(headers)[1]]


def test_a_request_without_a_trace_has_neither_parent_nor_links():
    assert parent_and_links({"content-type": "application/json"}) == ({}, [])


def test_the_requests_own_traceparent_names_the_parent_itself():
    assert parent_and_links({"traceparent": traceparent("1")}) == ({}, [])


@pytest.mark.parametrize("prefix", ["ce-", "ce-kafkaheader"])
def test_a_cloudevents_traceparent_names_the_parent_with_its_tracestate(prefix: str):
    headers = {f"{prefix}traceparent": traceparent("1"), f"{prefix}tracestate": "a=b"}
    assert parent_and_links(headers) == ({"traceparent": traceparent("1"), "tracestate": "a=b"}, [])


def test_the_first_is_the_parent_and_those_that_disagree_are_links_in_order():
    headers = {
        "ce-kafkaheadertraceparent": traceparent("3"),
        "ce-traceparent": traceparent("2"),
        "traceparent": traceparent("1"),
    }
    assert parent_and_links(headers)[0] == {}
    assert linked(headers) == ["2", "3"]


def test_ce_traceparent_goes_before_the_records():
    headers = {"ce-kafkaheadertraceparent": traceparent("3"), "ce-traceparent": traceparent("2")}
    assert parent_and_links(headers)[0] == {"traceparent": traceparent("2")}
    assert linked(headers) == ["3"]


def test_those_that_agree_are_no_links():
    headers = {"traceparent": traceparent("1"), "ce-kafkaheadertraceparent": traceparent("1")}
    assert parent_and_links(headers) == ({}, [])


@pytest.mark.parametrize("garbage", ["", "00-zz", "\x00", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "é" * 1000])
def test_one_that_is_not_a_traceparent_is_passed_over(garbage: str):
    assert parent_and_links({"traceparent": garbage, "ce-traceparent": traceparent("2")}) == (
        {"traceparent": traceparent("2")},
        [],
    )


def test_the_propagators_that_are_set_decide_what_is_looked_for():
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(CompositePropagator([]))
    try:
        assert parent_and_links({"traceparent": traceparent("1"), "ce-traceparent": traceparent("2")}) == ({}, [])
    finally:
        propagate.set_global_textmap(before)
