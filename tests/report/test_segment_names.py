"""What segments are called where they are printed."""

import pytest

from otel_kfs.analysis.paths.segment import BRIDGE, CLIENT, ENCODE, RETRIES, TOTAL, Place, Segment
from otel_kfs.report.segment_names import segment_name, step_name

SECOND = Place("predictor", 2)


@pytest.mark.parametrize(
    ("segment", "name"),
    [
        (Segment(CLIENT), "client"),
        (ENCODE, "encode"),
        (RETRIES, "retries"),
        (Segment(BRIDGE), "bridge"),
        (Segment(Place("queue-proxy"), "response"), "queue-proxy response"),
        (Segment(Place("proxy", 2), "request"), "proxy 2 request"),
        (Segment(SECOND), "predictor 2"),
        (Segment(SECOND, "decode"), "predictor 2 decode"),
        (Segment(Place("activator", before=SECOND), "request"), "predictor 2 activator request"),
        (Segment(CLIENT, missing=("encode",)), "client (no encode span)"),
        (
            Segment(SECOND, "response", ("predict", "postprocess")),
            "predictor 2 response (no predictor 2 predict, predictor 2 postprocess span)",
        ),
        (TOTAL, "total (4-1)"),
    ],
)
def test_a_segment_s_name_says_its_place_and_step_and_what_is_missing(segment, name):
    assert segment_name(segment) == name


@pytest.mark.parametrize(("segment", "name"), [(Segment(SECOND, "decode"), "decode"), (Segment(SECOND), "predictor")])
def test_the_shortest_name_is_the_step_or_else_the_place(segment, name):
    assert step_name(segment) == name
