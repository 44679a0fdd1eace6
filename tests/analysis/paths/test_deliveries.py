"""What took a record from its topic and what processed it, as the consumers of several languages write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from path_support import one, reasons, text_of
from traces_builder import HTTP, MS, at, spans

from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.traces.span import SpanGraph

PROCESSED = """
m publish                 PRODUCER   0   10  service=sender
  m process               CONSUMER  20   90  service=worker
    POST                  CLIENT    30   80  url=http://m/v1/models/m:predict
      POST                SERVER    40   70  service=model
"""
READ = (
    "hand over 10, deliver + broker 10, bridge 10, predictor request 10, predictor 30, predictor response 10, bridge 10"
)


def beside(line):
    return PROCESSED.replace("  m process", f"  {line}\n  m process")


def above(line):
    first, sent, *below = PROCESSED.splitlines()
    return "\n".join([first, sent, f"  {line}", *(f"  {text}" for text in below)])


@pytest.mark.parametrize(
    "drawing",
    [
        PROCESSED,
        beside("m receive               CONSUMER  11   12  service=worker"),
        above("m receive               CONSUMER  11   12  service=worker"),
        above("m receive               CONSUMER  11   99  service=worker"),
        beside("audit                   CONSUMER  11   12  service=worker"),
        PROCESSED.replace("CONSUMER", "INTERNAL"),
        beside("m receive               CONSUMER  11   12  service=worker").replace(
            "m process               CONSUMER", "classify                INTERNAL"
        ),
    ],
)
def test_a_record_is_processed_by_what_asks_the_model_for_it_whoever_only_took_it(drawing):
    assert text_of(drawing) == READ
    assert one(*spans(drawing)).stamps == (at(0), at(40), None, at(90))


def test_what_is_done_after_a_consumer_s_span_is_over_is_on_the_path_until_the_outermost_of_it_ends():
    over = PROCESSED.replace("CONSUMER  20   90", "CONSUMER  20   21")
    assert text_of(over) == READ.removesuffix(", bridge 10")
    first, sent, taken, *below = over.splitlines()
    drawing = "\n".join(
        [first, sent, taken, "    classify            INTERNAL  25   95", *(f"  {one}" for one in below)]
    )
    assert text_of(drawing) == READ.removesuffix("bridge 10") + "bridge 15"


def test_an_internal_span_of_the_sender_s_is_no_delivery():
    first, sent, *below = PROCESSED.splitlines()
    drawing = "\n".join([first, sent, "  serialise  INTERNAL  1  9", *(f"  {text}" for text in below)])
    assert text_of(drawing) == READ


def test_a_failed_delivery_before_it_counts_though_it_asked_nobody():
    path = one(*spans(beside("m process               CONSUMER  11   15  failed service=worker")))
    assert path.deliveries == 2
    assert path.sections[2].duration == 9 * MS  # redeliveries, until the one that was answered


BATCH = """
send m     PRODUCER  0  10  service=sender id=one
"""
POLLED = """
poll m         CLIENT    20  90  service=worker
  process m    CONSUMER  20  90  links=a/one
  process m    CONSUMER  20  90  links=b/two
  POST         CLIENT    30  80  url=http://m/v1/models/m:predict
    POST       SERVER    40  70  service=model
"""


def test_records_whose_spans_have_nothing_below_them_are_processed_by_the_one_above_them():
    sent = [*spans(BATCH, "a"), *spans(BATCH.replace("one", "two"), "b")]
    found, coverage = critical_paths(SpanGraph([*sent, *spans(POLLED, "c")]))
    assert [(path.trace_id, path.stamps, path.batch) for path in found] == [
        ("a", (at(0), at(40), None, at(90)), 2),
        ("b", (at(0), at(40), None, at(90)), 2),
    ]
    assert (coverage.in_batches, coverage.left_out) == (2, {})


def record(topic, sent, processed, options=""):
    return f"""
  {topic} publish            PRODUCER  {sent}  {sent + 5}  service=job {options}
    {topic} process          CONSUMER  {processed}  {processed + 40}  service=worker
      POST                   CLIENT    {processed + 5}  {processed + 35}  url=http://m/v1/models/m:predict
"""


@given(st.integers(2, 5), st.sampled_from(["INTERNAL", "SERVER", "CONSUMER"]))
def test_each_of_several_records_to_one_topic_is_an_image_whatever_sent_them(count, kind):
    drawing = f"nightly  {kind}  0  60  service=job" + "".join(record("m", 10 * n, 100 + 50 * n) for n in range(count))
    found, _ = critical_paths(SpanGraph(spans(drawing)))
    expected = [(at(10 * n), None, None, at(140 + 50 * n)) for n in range(count)]
    assert [path.stamps for path in found] == expected


def test_one_of_them_that_was_not_processed_is_left_out():
    lost = "\n  m publish            PRODUCER  25  30  service=job"
    drawing = "nightly  INTERNAL  0  60  service=job" + record("m", 0, 100) + record("m", 10, 150) + lost
    found, coverage = critical_paths(SpanGraph(spans(drawing)))
    assert (len(found), coverage.left_out) == (2, {"delivered, but not processed": 1})


def test_records_to_several_topics_are_one_image():
    drawing = "nightly  INTERNAL  0  60  service=job" + record("m", 0, 100) + record("log", 10, 150)
    assert one(*spans(drawing)).stamps == (at(0), None, None, at(140))


def test_an_image_of_ours_over_http_that_ends_before_its_answer_is_out_of_order():
    assert reasons(*spans(HTTP.replace("INTERNAL    0 1000", "INTERNAL    0  900"))) == {
        "`send image` is out of order": 1
    }


def test_an_attribute_that_says_of_whom_a_call_is_may_be_anything():
    strange = [replace(span, attributes={"openinference.span.kind": ["LLM"]}) for span in spans(PROCESSED)]
    assert len(SpanGraph(strange)) == 4
