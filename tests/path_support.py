"""Critical paths of drawn spans as text, for the tests of what finds them."""

from traces_builder import EVENT_SOURCE, HTTP, KAFKA, MS, STRAIGHT, spans, with_options

from otel_kfs.analysis.paths.critical_path import critical_paths
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.span import SpanGraph

HTTP_SEGMENTS = (
    "client 10, encode 100, client 20, transformer request 20, transformer receive 50, transformer 10, "
    "transformer decode 30, transformer 10, transformer preprocess 150, transformer 10, transformer serialise 90, "
    "predictor request 20, predictor receive 20, predictor 10, predictor decode 50, predictor 5, "
    "predictor preprocess 5, predictor 10, predictor predict 260, predictor 5, predictor postprocess 10, "
    "predictor response 35, transformer 10, transformer 5, transformer postprocess 15, transformer response 30, "
    "client 10"
)
KAFKA_SEGMENTS = (
    "client 10, encode 100, client 20, deliver 160, broker 40, bridge 20, transformer request 10, "
    "transformer receive 40, transformer 10, transformer decode 30, transformer 10, transformer preprocess 150, "
    "transformer 10, transformer serialise 90, predictor request 20, predictor receive 20, predictor 10, "
    "predictor decode 50, predictor 5, predictor preprocess 5, predictor 10, predictor predict 60, predictor 5, "
    "predictor postprocess 10, predictor response 35, transformer 10, transformer 5, transformer postprocess 15, "
    "transformer response 30, bridge 10"
)


def one(*drawn):
    """The one path in some spans."""
    (path,), coverage = critical_paths(SpanGraph(drawn))
    assert coverage.left_out == {}
    return path


def text_of(drawing):
    """Its segments as text, the form of HTTP_SEGMENTS."""
    return ", ".join(
        f"{segment_name(section.segment)} {section.duration / MS:g}" for section in one(*spans(drawing)).sections
    )


def reasons(*drawn):
    """Why images are left out, where none is measured."""
    found, coverage = critical_paths(SpanGraph(drawn))
    assert (found, coverage.measured) == ([], 0)
    return dict(coverage.left_out)


def indented(drawing):
    return "\n".join(f"  {line}" for line in drawing.splitlines() if line)


RETRIED = STRAIGHT.replace(
    "  POST                          CLIENT    130  490",
    "  POST                          CLIENT    115  120  failed\n  POST                          CLIENT    130  490",
)
REDELIVERED = KAFKA.replace(
    "    process images              CONSUMER  330 1000",
    "    process images              CONSUMER  300  320  failed\n"
    "      POST                      CLIENT    305  315  failed\n"
    "    process images              CONSUMER  330 1000",
)


UNTRACED = """
        send image          INTERNAL    0  100
          encode            INTERNAL    0   10
          POST              CLIENT     10   95
            POST :predict   SERVER     20   90
              receive       INTERNAL   20   30
              decode        INTERNAL   30   35
              preprocess    INTERNAL   35   45
              predict       INTERNAL   45   80
                POST        CLIENT     50   78
              postprocess   INTERNAL   80   85
"""


def linked():
    """The image through Kafka, with the bridge's half in a trace of its own that links to the sender's."""
    *sender, process = [line for line in KAFKA.splitlines() if line.strip()][:4]
    bridge = [process, *[line for line in KAFKA.splitlines() if line.strip()][4:]]
    sent = spans(with_options("\n".join(sender), "send images", "id=sent"), "a")
    return sent, spans(with_options("\n".join(line[4:] for line in bridge), "process images", "links=a/sent"), "b")


def below(drawing, name, span):
    """The drawing with another span between the last line of that name and what it is below."""
    lines = drawing.splitlines()
    number = max(number for number, text in enumerate(lines) if text.strip().startswith(f"{name}  "))
    indent = len(lines[number]) - len(lines[number].lstrip())
    end = next(
        (n for n in range(number + 1, len(lines)) if len(lines[n]) - len(lines[n].lstrip()) <= indent), len(lines)
    )
    inner = [f"  {text}" for text in lines[number:end]]
    return "\n".join([*lines[:number], " " * indent + span, *inner, *lines[end:]])


TWO_PREDICTORS = """
send image            INTERNAL    0  300
  encode              INTERNAL    0   10
  POST                CLIENT     10  290
    POST              SERVER     20  280
      receive         INTERNAL   20   30
      preprocess      INTERNAL   30   50
      predict         INTERNAL   50  250
        POST          CLIENT     60  120
          POST        SERVER     65  115
            receive   INTERNAL   65   70
            preprocess  INTERNAL 70   75  role=predictor
            predict   INTERNAL   75  110
        POST          CLIENT    {start}  240
          POST        SERVER    145  235
            receive   INTERNAL  145  150
            preprocess  INTERNAL 150 155  role=predictor
            predict   INTERNAL  155  230
"""


DRAWINGS = {
    "http": HTTP,
    "kafka": KAFKA,
    "event source": EVENT_SOURCE,
    "straight": STRAIGHT,
    "retried": RETRIED,
    "redelivered": REDELIVERED,
    "two predictors": TWO_PREDICTORS.format(start=130),
    "mesh": below(STRAIGHT, "POST /v1/models", "POST  SERVER  140  480  service=activator").replace(
        "SERVER    200  470", "SERVER    200  470  service=m"
    ),
}
