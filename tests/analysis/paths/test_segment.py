"""The order of segments is that in which a path meets them."""

from path_support import DRAWINGS, one
from traces_builder import segment, spans

from otel_kfs.analysis.paths.segment import ORDER, TOTAL, Place, Segment, path_order
from otel_kfs.report.segment_names import segment_name


def test_every_name_of_a_whole_path_has_its_place_in_the_order():
    used = {section.segment for drawing in DRAWINGS.values() for section in one(*spans(drawing)).sections}
    first = {one._replace(place=one.place._replace(occurrence=1), missing=()) for one in used}
    assert first - set(ORDER) == set()


def test_what_a_second_server_does_comes_after_the_first_ones_share():
    found = [
        "transformer response",
        "predictor 2 request",
        "transformer 2 decode",
        "predictor response",
        "proxy 2 request",
    ]
    assert [segment_name(one) for one in sorted(map(segment, found), key=path_order)] == [
        "proxy 2 request",
        "transformer 2 decode",
        "predictor response",
        "predictor 2 request",
        "transformer response",
    ]


def test_the_order_names_no_segment_twice():
    assert len(set(ORDER)) == len(ORDER)


def test_a_second_proxy_before_a_server_stands_with_the_first():
    proxies = [Segment(Place("proxy", number, Place("predictor")), "request") for number in (2, 1)]
    found = [segment("predictor decode"), *proxies, segment("transformer predict")]
    assert [segment_name(one) for one in sorted(found, key=path_order)] == [
        "transformer predict",
        "predictor proxy request",
        "predictor proxy 2 request",
        "predictor decode",
    ]


def test_what_is_at_no_known_place_comes_last_but_for_the_whole():
    found = [TOTAL, segment("explainer decode"), segment("client"), segment("ingress response")]
    assert [segment_name(one) for one in sorted(found, key=path_order)] == [
        "client",
        "ingress response",
        "explainer decode",
        "total (4-1)",
    ]
