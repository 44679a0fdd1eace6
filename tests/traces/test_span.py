"""SpanGraph: who is whose child, and which descendants are the nearest of a kind."""

import itertools

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
    (processed,) = spans("process images  CONSUMER  20  30  links=a/sent", trace="b")
    assert SpanGraph([sent, processed]).children(sent) == [processed]


def test_a_consumer_that_links_to_two_producers_is_a_child_of_both():
    one, two = spans("send images  PRODUCER  0  10  id=one\nsend images  PRODUCER  0  10  id=two")
    (processed,) = spans("process images  CONSUMER  20  30  links=a/one,a/two", trace="b")
    graph = SpanGraph([one, two, processed])
    assert (graph.children(one), graph.children(two)) == ([processed], [processed])


def test_a_consumer_with_a_parent_and_a_link_is_its_parents_child_alone():
    parent, child = spans("send images  PRODUCER  0  10\n  process images  CONSUMER  20  30  links=b/other")
    (other,) = spans("send images  PRODUCER  0  10  id=other", trace="b")
    graph = SpanGraph([parent, child, other])
    assert (graph.children(parent), graph.children(other)) == ([child], [])


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.CONSUMER])
def test_the_link_of_any_other_kind_makes_no_kinship(kind):
    (sent,) = spans("send images  PRODUCER  0  10  id=sent")
    (linking,) = spans(f"poll images  {kind.name}  20  30  links=a/sent", trace="b")
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
    (processed,) = spans("process images  CONSUMER  20  30  links=a/one,a/two", trace="b")
    found = SpanGraph([root, one, two, processed]).nearest_descendants(root, lambda span: span.kind is Kind.CONSUMER)
    assert found == [processed]


def test_a_forest_of_nothing_is_empty():
    assert (len(SpanGraph([])), list(SpanGraph([]))) == (0, [])


def test_the_builder_draws_whole_milliseconds():
    root, *_ = spans(FAMILY)
    assert (root.start, root.end) == (at(0), at(100))


# --- ids that are not unique ---


def test_traces_with_the_same_span_ids_have_no_kin_in_one_another():
    mine, theirs = spans(FAMILY, "a"), [replace(span, trace_id="b") for span in spans(FAMILY, "a")]
    graph = SpanGraph([*mine, *theirs])
    assert (graph.children(mine[0]), graph.children(theirs[0])) == ([mine[3], mine[1]], [theirs[3], theirs[1]])
    assert graph.nearest_descendants(theirs[0], clients) == [theirs[4], theirs[1]]


def test_a_link_leads_to_the_span_of_that_id_in_the_trace_that_it_names():
    sent, other = (spans("send images  PRODUCER  0  10  id=sent", trace)[0] for trace in "ab")
    (processed,) = spans("process images  CONSUMER  20  30  links=b/sent", trace="c")
    graph = SpanGraph([sent, other, processed])
    assert (graph.children(sent), graph.children(other)) == ([], [processed])


SHARED = """
root             INTERNAL    0  100  id=root service=app
  POST           CLIENT     10   90  id=shared
    upload       INTERNAL   11   20  id=upload
    /predict     SERVER     25   80  id=shared service=model
      receive    INTERNAL   25   30  id=receive
      GET        CLIENT     40   50  id=further
"""


def family_of(graph):
    """Every span's name with those of its children."""
    return {span.name: names_of(graph.children(span)) for span in graph if graph.children(span)}


def test_a_client_and_a_server_of_one_id_are_two_spans_whichever_is_read_first():
    expected = {"root": ["POST"], "POST": ["upload", "/predict"], "/predict": ["receive", "GET"]}
    for order in itertools.permutations(spans(SHARED)):
        assert family_of(SpanGraph(order)) == expected


def test_a_server_that_names_its_client_s_parent_as_its_own_is_below_the_client_all_the_same():
    root, client, upload, server, *others = spans(SHARED)
    zipkins = replace(server, parent_id=root.span_id)
    assert family_of(SpanGraph([zipkins, root, client, upload, *others]))["POST"] == ["upload", "/predict"]


def test_a_proxy_and_a_server_that_both_join_their_client_s_span_are_one_below_the_other():
    drawn = spans("""
POST           CLIENT      0  100  id=shared service=app
  ingress      SERVER     10   90  id=shared service=envoy
    /predict   SERVER     20   80  id=shared service=model
      decode   INTERNAL   30   40  id=decode
""")
    expected = {"POST": ["ingress"], "ingress": ["/predict"], "/predict": ["decode"]}
    assert [family_of(SpanGraph(order)) for order in itertools.permutations(drawn)] == [expected] * 24


def test_a_link_to_a_shared_id_leads_to_the_innermost_span_or_that_of_the_same_process():
    client, server = spans("POST  CLIENT  0  90  id=x service=app\n  put  SERVER  10  80  id=x service=rest")
    elsewhere, own = (
        spans(f"process images  CONSUMER  50  60  links=a/x service={service}", service)[0]
        for service in ("bridge", "app")
    )
    assert family_of(SpanGraph([elsewhere, server, own, client])) == {
        "POST": ["put", "process images"],
        "put": ["process images"],
    }


def test_a_shared_id_that_was_read_twice_is_two_spans():
    assert len(SpanGraph(spans(SHARED) * 2)) == 6


def test_of_a_span_that_was_read_twice_and_differs_the_longer_counts_whichever_is_read_first():
    (half,) = spans("POST  CLIENT  0  10  id=x")
    whole = replace(half, end=at(20))
    assert list(SpanGraph([half, whole])) == list(SpanGraph([whole, half])) == [whole]


def test_siblings_that_start_together_come_in_one_order_whichever_is_read_first():
    root, *twins = spans("root  INTERNAL  0  9\n  a  CLIENT  1  5\n  b  CLIENT  1  5")
    assert SpanGraph([root, *twins]).children(root) == SpanGraph([*reversed(twins), root]).children(root) == twins


def test_a_span_that_has_lost_its_parent_has_the_same_one_whichever_of_two_that_hold_it_alike_is_read_first():
    root, *twins, orphan = spans("root  INTERNAL  0  9\n  a  CLIENT  1  5\n  b  CLIENT  1  5\n  c  SERVER  2  4")
    read = [root, *twins, replace(orphan, parent_id="lost")]

    def above(order):
        graph = SpanGraph(order)
        return [one.name for one in twins if graph.children(one)]

    assert {tuple(above(order)) for order in itertools.permutations(read)} == {("a",)}
