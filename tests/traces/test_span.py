"""SpanGraph: who is whose child, and which descendants are the nearest of a kind."""

import pytest
from msgspec.structs import replace
from traces_builder import at, spans

from otel_kfs.traces.span import Kind, SpanGraph

FAMILY = """
root            INTERNAL    0  100
  late          CLIENT     50   90
    below       CLIENT     60   80
  early         INTERNAL   10   40
    grandchild  CLIENT     20   30
"""


def names_of(found):
    return [span.name for span in found]


def clients(span):
    return span.kind is Kind.CLIENT


def test_children_come_by_their_start_not_as_they_were_read():
    root, *others = spans(FAMILY)
    assert names_of(SpanGraph([root, *others]).children(root)) == ["early", "late"]


def test_a_span_without_children_has_none():
    grandchild = spans(FAMILY)[-1]
    assert SpanGraph(spans(FAMILY)).children(grandchild) == []


def test_a_child_is_found_when_it_was_read_before_its_parent():
    root, *others = spans(FAMILY)
    assert names_of(SpanGraph([*others, root]).children(root)) == ["early", "late"]


def test_a_span_that_was_read_twice_counts_once():
    family = spans(FAMILY)
    graph = SpanGraph(family + family)
    assert (len(graph), list(graph), names_of(graph.children(family[0]))) == (5, family, ["early", "late"])


def test_the_same_span_id_in_another_trace_is_another_span():
    root, *_ = spans(FAMILY)
    assert len(SpanGraph([root, replace(root, trace_id="b")])) == 2


def test_a_consumer_without_a_parent_is_the_child_of_what_it_links_to():
    (sent,) = spans("send images  PRODUCER  0  10  id=sent")
    (processed,) = spans("process images  CONSUMER  20  30  links=sent", trace="b")
    assert SpanGraph([sent, processed]).children(sent) == [processed]


def test_a_consumer_that_links_to_two_producers_is_a_child_of_both():
    one, two = spans("send images  PRODUCER  0  10  id=one\nsend images  PRODUCER  0  10  id=two")
    (processed,) = spans("process images  CONSUMER  20  30  links=one,two", trace="b")
    graph = SpanGraph([one, two, processed])
    assert (graph.children(one), graph.children(two)) == ([processed], [processed])


def test_a_consumer_with_a_parent_and_a_link_is_its_parents_child_alone():
    parent, child = spans("send images  PRODUCER  0  10\n  process images  CONSUMER  20  30  links=other")
    (other,) = spans("send images  PRODUCER  0  10  id=other", trace="b")
    graph = SpanGraph([parent, child, other])
    assert (graph.children(parent), graph.children(other)) == ([child], [])


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.CONSUMER])
def test_the_link_of_any_other_kind_makes_no_kinship(kind):
    (sent,) = spans("send images  PRODUCER  0  10  id=sent")
    (linking,) = spans(f"poll images  {kind.name}  20  30  links=sent", trace="b")
    assert SpanGraph([sent, linking]).children(sent) == []


def test_nearest_goes_down_any_depth_and_stops_at_what_is_wanted():
    root, *others = spans(FAMILY)
    assert names_of(SpanGraph([root, *others]).nearest_descendants(root, clients)) == ["grandchild", "late"]


def test_nearest_never_finds_the_span_itself():
    late = spans(FAMILY)[1]
    assert names_of(SpanGraph(spans(FAMILY)).nearest_descendants(late, clients)) == ["below"]


def test_nearest_finds_nothing_where_nothing_is_wanted():
    root, *others = spans(FAMILY)
    assert SpanGraph([root, *others]).nearest_descendants(root, lambda span: span.kind is Kind.SERVER) == []


def test_parents_in_a_circle_are_each_visited_once():
    a, b, c = spans("a  INTERNAL  0  10\n  b  INTERNAL  1  9\n    c  CLIENT  2  8")
    circle = [replace(a, parent_id=b.span_id), b, c]
    assert names_of(SpanGraph(circle).nearest_descendants(a, clients)) == ["c"]


def test_a_span_that_is_its_own_parent_is_visited_once():
    (own,) = spans("own  INTERNAL  0  10  id=own")
    assert SpanGraph([replace(own, parent_id="own")]).nearest_descendants(own, clients) == []


def test_a_span_below_two_linked_producers_is_found_once():
    root, one, two = spans(
        "root  INTERNAL  0  50\n  send images  PRODUCER  0  10  id=one\n  send images  PRODUCER  5  10  id=two"
    )
    (processed,) = spans("process images  CONSUMER  20  30  links=one,two", trace="b")
    found = SpanGraph([root, one, two, processed]).nearest_descendants(root, lambda span: span.kind is Kind.CONSUMER)
    assert found == [processed]


def test_a_forest_of_nothing_is_empty():
    assert (len(SpanGraph([])), list(SpanGraph([]))) == (0, [])


def test_the_builder_draws_whole_milliseconds():
    root, *_ = spans(FAMILY)
    assert (root.start, root.end) == (at(0), at(100))
