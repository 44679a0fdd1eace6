"""Spans grouped by trace: whole, joined where they are linked, and the same in memory and in a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traces_builder import HTTP, KAFKA, linked, spans

from otel_kfs.analysis.reading import group_by_trace
from otel_kfs.analysis.reading.group_by_trace import PARTITIONS, Links, SpanTable

MANY = [span for number in range(20) for span in [*spans(HTTP, f"h{number}-"), *linked(f"s{number}-", f"b{number}-")]]


def grouped(table):
    """The spans of each trace, by the traces that they are of."""
    table.close(table.links)
    return {frozenset(span.trace_id for span in trace): trace for trace in table.traces()}


@pytest.mark.parametrize("few", [10, 10_000], ids=["in a file", "in memory"])
def test_each_trace_comes_back_whole_with_those_that_it_is_linked_to(monkeypatch, few):
    monkeypatch.setattr(group_by_trace, "FEW", few)
    with SpanTable() as table:
        table.add(MANY[part::7] for part in range(7))
        found = grouped(table)
    one, joined = [span for span in MANY if span.trace_id == "h3-"], [span for span in MANY if span.trace_id in _TWO]
    by_id = {ids: sorted(trace, key=lambda span: span.span_id) for ids, trace in found.items()}
    assert by_id[frozenset({"h3-"})] == sorted(one, key=lambda span: span.span_id)
    assert by_id[frozenset(_TWO)] == sorted(joined, key=lambda span: span.span_id)
    assert (len(found), sum(map(len, found.values()))) == (40, len(MANY))


_TWO = {"s3-", "b3-"}


def test_the_spans_of_a_trace_come_in_the_order_in_which_they_were_added():
    with SpanTable() as table:
        table.add([spans(KAFKA)[5:], spans(KAFKA)[:5]])
        assert list(grouped(table).values()) == [[*spans(KAFKA)[5:], *spans(KAFKA)[:5]]]


def test_another_process_adds_to_the_same_file_and_reads_its_partitions():
    with SpanTable() as table:
        table.add([MANY[::2]])
        path = table.move_to_file()
        with SpanTable(path) as another:
            another.add([MANY[1::2]])
        table.links.update(another.links)
        whole = grouped(table)
        with SpanTable(path) as another:
            parts = [list(another.traces([number])) for number in range(PARTITIONS)]
    assert sorted(map(len, whole.values())) == sorted(len(trace) for part in parts for trace in part)
    assert not path.exists()


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20))
def test_whatever_is_linked_in_whatever_order_becomes_one_trace(pairs):
    links = Links()
    sets = {number: {number} for number in range(10)}
    for one, other in pairs:
        links.join(str(one), str(other))
        joined = sets[one] | sets[other]
        sets.update(dict.fromkeys(joined, joined))
    top = links.resolved()
    for number, of_one in sets.items():
        assert {top.get(str(one), str(one)) for one in of_one} == {top.get(str(number), str(number))}
    tops = {top.get(str(number), str(number)) for number in range(10)}
    assert len(tops) == len({frozenset(of_one) for of_one in sets.values()})
