"""What a store holds where nothing was measured."""

from collections import Counter

from msgspec.structs import replace
from traces_builder import Store, spans

from otel_kfs.analysis.reading.store_contents import StoreContents, contents_of
from otel_kfs.report.coverage_lines import contents_line


def test_spans_traces_services_and_roots_are_counted():
    one = "publish  PRODUCER  0  9  service=producer\n  process  CONSUMER  10  20  service=consumer"
    other = "GET  CLIENT  0  9  service=browser"
    found = contents_of(Store(spans(one, "a"), [*spans(one, "b"), *spans(other, "c")]))
    assert found == StoreContents(
        spans=5,
        traces=3,
        services=Counter({"producer": 2, "consumer": 2, "browser": 1}),
        roots=Counter({("publish", "producer"): 2, ("GET", "browser"): 1}),
    )
    assert contents_line(found).startswith(
        "it has 5 spans of 3 traces; services: producer, consumer, browser; traces begin with `publish` (producer) "
        "2 times, `GET` (browser) 1 time. If one of the services is a model server, name it by --server"
    )


def test_spans_whose_parents_are_not_there_are_what_traces_begin_with():
    outer, inner = spans("GET  SERVER  0  9  service=web\n  query  CLIENT  1  8")
    found = contents_of(Store([inner], [replace(outer, parent_id="gone")]))
    assert found.roots == Counter({("GET", "web"): 1})


def test_long_names_are_cut():
    line = contents_line(contents_of(Store(spans(f"{'x' * 999}  SERVER  0  9  service={'y' * 999}"))))
    assert f"services: {'y' * 60}...; traces begin with `{'x' * 60}...` ({'y' * 60}...) 1 time" in line


def test_nothing_is_said_to_be_nothing():
    assert contents_line(contents_of(Store())) == "it has no spans: see that they are exported, or look further back"
