"""Images whose records were processed together: each is measured, with all of the time that they shared."""

from traces_builder import MS, spans

from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.report.coverage_lines import coverage_line
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.span import SpanGraph


def sent(trace, topic="images", delivered=30):
    return spans(
        f"""
        send image        INTERNAL   0   {delivered + 2}  transport=kafka
          encode          INTERNAL   0   10
          send {topic}    PRODUCER  12   {delivered}  id=sent
        """,
        trace,
    )


REQUEST = """
  POST                  CLIENT    55   95
    POST :predict       SERVER    60   90
      receive           INTERNAL  60   65
      decode            INTERNAL  65   70
      preprocess        INTERNAL  70   75
      predict           INTERNAL  75   85
      postprocess       INTERNAL  85   85
"""
COUNT = ".messaging.batch.message_count="


def below(text, indent):
    return "\n".join(" " * indent + line for line in text.splitlines())


def texts(found):
    return [
        ", ".join(f"{segment_name(one.segment)} {one.duration / MS:g}" for one in path.sections if one.duration)
        for path in found
    ]


def test_each_image_of_a_batch_has_all_of_the_shared_time():
    batch = f"process images  CONSUMER  50  100  links=a/sent,b/sent {COUNT}2\n" + REQUEST
    found, coverage = critical_paths(SpanGraph([*sent("a"), *sent("b", delivered=40), *spans(batch, "c")]))
    rest = (
        "bridge 5, transformer request 5, transformer receive 5, transformer decode 5, transformer preprocess 5, "
        "transformer predict 10, transformer response 10, bridge 5"
    )
    assert texts(found) == [
        f"encode 10, client 2, deliver 18, broker 20, {rest}",
        f"encode 10, client 2, deliver 28, broker 10, {rest}",
    ]
    assert [(path.batch, path.deliveries, path.requests, path.linked) for path in found] == [(2, 1, 1, ("c",))] * 2
    assert coverage == Coverage(measured=2, in_batches=2)
    assert coverage_line(coverage) == (
        "2 images measured; 2 shared a request with others, of which each has all of the time"
    )


def test_a_batch_of_one_shares_nothing():
    batch = f"process images  CONSUMER  50  100  links=a/sent {COUNT}1\n" + REQUEST
    assert critical_paths(SpanGraph([*sent("a"), *spans(batch, "c")]))[1] == Coverage(measured=1)


def test_images_of_two_topics_share_the_request_below_both_spans():
    batch = f"""
process images        CONSUMER  50  100  links=a/sent {COUNT}1
  process pictures    CONSUMER  50  100  links=b/sent {COUNT}1
{below(REQUEST, 2)}
"""
    found, coverage = critical_paths(SpanGraph([*sent("a"), *sent("b", "pictures"), *spans(batch, "c")]))
    assert coverage == Coverage(measured=2)
    assert texts(found)[0] == texts(found)[1]


def test_what_a_batch_could_not_do_and_its_records_did_alone_are_retries():
    batch = f"""
process images  CONSUMER  40  48  links=a/sent,b/sent {COUNT}2 failed
  POST          CLIENT    42  46  failed
"""
    alone = [*sent("a"), *spans("process images  CONSUMER  50  100  links=a/sent\n" + REQUEST, "d")]
    found, coverage = critical_paths(SpanGraph([*alone, *sent("b"), *spans(batch, "c")]))
    (path,) = found
    assert texts(found)[0].startswith("encode 10, client 2, deliver 18, broker 10, retries 10, bridge 5, ")
    assert (path.deliveries, path.requests, path.batch) == (1, 2, 1)
    assert (coverage.measured, coverage.retried, coverage.redelivered) == (1, 1, 0)
