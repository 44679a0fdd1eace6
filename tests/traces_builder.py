"""Spans for tests, drawn as a tree: a line a span, indented below its parent, with its kind, start and end.

    send image      INTERNAL    0  100  image=1100000
      encode        INTERNAL    5   15
      POST          CLIENT     20   95  @elsewhere

Times are milliseconds after EPOCH. What may follow them: `@host` (else the parent's; `@` alone is none), `id=...` (else
the trace's name and the line's number), `service=` (else the parent's), `role=`, `image=`, `payload=`, `size=` (of a
body), `transport=`, `group=`, `offset=`, `url=`, `run=`, `attempt=`, `warmup`, `failed`, and `links=` with the ids of
the spans that are linked, separated by commas, each behind its trace's name and a `/` where that is another one.
`events=` has pairs of a name and a time, `QUEUE_START:44,...`; what begins with a dot is an attribute, `.error=true`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from otel_kfs import semconv
from otel_kfs.analysis.paths.critical_path import CriticalPath
from otel_kfs.analysis.paths.path_builder import Section
from otel_kfs.analysis.paths.segment import ORDER, Place, Segment
from otel_kfs.report.segment_names import segment_name
from otel_kfs.traces.batch import trimmed_batches
from otel_kfs.traces.span import Kind, Span

EPOCH = 1_600_000_000_000_000_000  # ns
MS = 1_000_000  # ns

_LINE = re.compile(r"(?P<indent> *)(?P<name>\S.*?) {2,}(?P<kind>[A-Z]+) +(?P<start>\d+) +(?P<end>\d+)(?P<more>.*)")
_TEXTS = {
    "role": semconv.ROLE,
    "transport": semconv.TRANSPORT,
    "group": semconv.MESSAGING_CONSUMER_GROUP_NAME,
    "url": semconv.URL_FULL,
    "run": semconv.RUN_ID,
}
_NUMBERS = {
    "size": semconv.HTTP_REQUEST_BODY_SIZE,
    "image": semconv.IMAGE_SIZE,
    "payload": semconv.PAYLOAD_SIZE,
    "attempt": semconv.DELIVERY_ATTEMPT,
    "offset": semconv.MESSAGING_KAFKA_MESSAGE_OFFSET,
    "queued": semconv.REQUEST_QUEUE_TIME,
}


def at(milliseconds: int) -> int:
    """A moment, as spans have it."""
    return EPOCH + milliseconds * MS


def spans(drawing: str, trace: str = "a") -> list[Span]:
    """The spans of one trace, in the drawing's order."""
    found: list[Span] = []
    above: list[tuple[int, Span]] = []
    for number, line in enumerate(filter(str.strip, drawing.splitlines())):
        match = _LINE.fullmatch(line)
        assert match, f"not a span: {line}"
        indent = len(match["indent"])
        while above and above[-1][0] >= indent:
            above.pop()
        parent = above[-1][1] if above else None
        span = _span(match, trace, f"{trace}{number}", parent)
        above.append((indent, span))
        found.append(span)
    return found


def _span(match: re.Match[str], trace: str, span_id: str, parent: Span | None) -> Span:
    host, failed, links = parent.host if parent else "host", False, []
    service = parent.service if parent else "service"
    attributes: dict[str, Any] = {}
    events: tuple[tuple[str, int], ...] = ()
    for word in match["more"].split():
        key, _, value = word.partition("=")
        if word.startswith("@"):
            host = word[1:]
        elif word == "failed":
            failed = True
        elif word == "warmup":
            attributes[semconv.WARMUP] = True
        elif key == "id":
            span_id = value
        elif key == "service":
            service = value
        elif key == "events":
            events = tuple((name, at(int(time))) for name, time in (event.split(":") for event in value.split(",")))
        elif key.startswith("."):
            attributes[key[1:]] = json.loads(value) if value[:1].isdigit() else value
        elif key == "links":
            links = [link.rpartition("/") for link in value.split(",")]
        elif key in _NUMBERS:
            attributes[_NUMBERS[key]] = int(value)
        else:
            attributes[_TEXTS[key]] = value
    return Span(
        trace_id=trace,
        span_id=span_id,
        parent_id=parent.span_id if parent else None,
        name=match["name"],
        kind=Kind[match["kind"]],
        start=at(int(match["start"])),
        end=at(int(match["end"])),
        service=service,
        host=host,
        failed=failed,
        attributes=attributes,
        links=tuple(span for _, _, span in links),
        linked_traces=tuple(linked or trace for linked, _, _ in links),
        events=events,
    )


def otlp_line(drawn: list[Span]) -> str:
    """One OTLP-JSON line with the spans; ids are made as long as OTLP's."""
    exported = [otlp_span(span, lambda text, digits: text.encode().hex().rjust(digits, "0")) for span in drawn]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": exported}]}]}) + "\n"


def otlp_span(span: Span, as_id: Callable[[str, int], str]) -> dict[str, Any]:
    """A span as OTLP-JSON has it; `as_id` makes an id of so many digits of a drawn one."""
    return {
        "traceId": as_id(span.trace_id, 32),
        "spanId": as_id(span.span_id, 16),
        "parentSpanId": as_id(span.parent_id, 16) if span.parent_id else "",
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": [otlp_attribute(*pair) for pair in span.attributes.items()],
        "links": [
            {"traceId": as_id(trace, 32), "spanId": as_id(link, 16)}
            for trace, link in zip(span.linked_traces, span.links, strict=True)
        ],
        "status": {"code": 2} if span.failed else {},
        "events": [{"name": name, "timeUnixNano": str(time)} for name, time in span.events],
    }


def otlp_attribute(key: str, value: Any) -> dict[str, Any]:
    """An attribute as OTLP-JSON has it, whose integers are text."""
    kind = "boolValue" if isinstance(value, bool) else "intValue" if isinstance(value, int) else "stringValue"
    return {"key": key, "value": {kind: value if isinstance(value, bool | str) else str(value)}}


def without(drawing: str, name: str) -> str:
    """The drawing without the first line of that name (one that has nothing below it)."""
    lines = drawing.splitlines()
    lines.remove(next(line for line in lines if re.match(rf" *{re.escape(name)}  ", line)))
    return "\n".join(lines)


def with_options(drawing: str, name: str, options: str) -> str:
    """The drawing with further words behind the first line of that name."""
    return re.sub(rf"(?m)^( *{re.escape(name)}  .*)$", rf"\1  {options}", drawing, count=1)


_KNOWN = {segment_name(one): one for one in ORDER}


def segment(name: str) -> Segment:
    """The segment that is printed so; `predictor 2 decode`, `transformer (no transformer decode span)`."""
    plain, _, missing = name.removesuffix(" span)").partition(" (no ")
    if missing:
        return segment(plain)._replace(missing=tuple(segment(one).step for one in missing.split(", ")))
    if plain in _KNOWN:
        return _KNOWN[plain]._replace(missing=())
    if numbered := re.fullmatch(r"(\S+) (\d+)(.*)", plain):
        found = segment(numbered[1] + numbered[3])
        return found._replace(place=found.place._replace(occurrence=int(numbered[2])))
    place, _, step = plain.partition(" ")
    return Segment(Place(place), step)


def sections(drawn_path: str, start: int = 0) -> tuple[Section, ...]:
    """A path's sections from their segments' names and lengths, `client 10, encode 100`.

    `!` behind a length: it crosses from host `one` to `other`; `!here>there`: between those two. `~` behind it all: it
    gives way to the next.
    """
    found = []
    for part in drawn_path.split(", "):
        name, length = part.rsplit(" ", 1)
        gives_way = length.endswith("~")
        length, crosses, hosts = length.removesuffix("~").partition("!")
        one, _, other = (hosts or "one>other").partition(">")
        end = start + int(length)
        found.append(Section(segment(name), at(start), at(end), (one, other) if crosses else None, gives_way))
        start = end
    return tuple(found)


def critical_path(
    *stamps: int, transport: str = "http", image_size: int | None = 1_100_000, **more: Any
) -> CriticalPath:
    """A path with stamps in milliseconds, for what needs no segments."""
    values = {"trace_id": "a", "payload_size": None, "sections": ()} | more
    return CriticalPath(transport=transport, image_size=image_size, stamps=tuple(map(at, stamps)), **values)


def critical_path_of(names_and_lengths: str) -> CriticalPath:
    """A path with these segments, stamps 2 and 3 anywhere."""
    drawn_path = sections(names_and_lengths)
    crossed = [section.hosts for section in drawn_path if section.hosts]
    first, last = (crossed[0][0], crossed[-1][1]) if crossed else ("", "")
    hosts = (first, first, first, last)
    return replace(
        critical_path(0, 0, 0, 0, sections=drawn_path), stamps=(at(0), at(1), at(2), drawn_path[-1].end), hosts=hosts
    )


HTTP = """
send image                      INTERNAL    0 1000  transport=http image=1100000 payload=1500000
  encode                        INTERNAL   10  110
  POST                          CLIENT    130  990
    POST /v1/models             SERVER    200  970
      receive                   INTERNAL  150  200
      decode                    INTERNAL  210  240
      preprocess                INTERNAL  250  400  role=transformer
      predict                   INTERNAL  410  940  role=transformer
        POST                    CLIENT    500  930
          POST /v1/models       SERVER    540  910
            receive             INTERNAL  520  540
            decode              INTERNAL  550  600
            preprocess          INTERNAL  605  610  role=predictor
            predict             INTERNAL  620  880  role=predictor
            postprocess         INTERNAL  885  895  role=predictor
      postprocess               INTERNAL  945  960  role=transformer
"""

# The sender's span is over when the broker has the record; the path goes on until the bridge has the answer.
KAFKA = """
send image                      INTERNAL    0  300  transport=kafka image=1100000 payload=1500000
  encode                        INTERNAL   10  110
  send images                   PRODUCER  130  290
    process images              CONSUMER  330 1000
      POST                      CLIENT    350  990
        POST /v1/models         SERVER    400  970
          receive               INTERNAL  360  400
          decode                INTERNAL  410  440
          preprocess            INTERNAL  450  600  role=transformer
          predict               INTERNAL  610  940  role=transformer
            POST                CLIENT    700  930
              POST /v1/models   SERVER    740  910
                receive         INTERNAL  720  740
                decode          INTERNAL  750  800
                preprocess      INTERNAL  805  810  role=predictor
                predict         INTERNAL  820  880  role=predictor
                postprocess     INTERNAL  885  895  role=predictor
          postprocess           INTERNAL  945  960  role=transformer
"""

# The server that the client asks has the model itself.
STRAIGHT = """
send image                      INTERNAL    0  500  transport=http image=1100000 payload=1500000
  encode                        INTERNAL   10  110
  POST                          CLIENT    130  490
    POST /v1/models             SERVER    200  470
      receive                   INTERNAL  150  200
      decode                    INTERNAL  210  240
      preprocess                INTERNAL  250  300  role=predictor
      predict                   INTERNAL  310  440  role=predictor
      postprocess               INTERNAL  445  460  role=predictor
"""

# A transformer whose predictor somebody else's spans show.
UNTRACED_PREDICTOR = """
send image          INTERNAL    0  100
  encode            INTERNAL    0    1
  POST              CLIENT      1   99
    POST :predict   SERVER      1   99
      receive       INTERNAL    1    1
      preprocess    INTERNAL    1    1
      predict       INTERNAL    2   98
        POST        CLIENT      4   97
{}
"""

# Knative's KafkaSource posts each record to the server; it makes no span of its own.
EVENT_SOURCE = """
send image                      INTERNAL    0  200  transport=kafka image=1100000 payload=1500000
  encode                        INTERNAL   10  110
  send images                   PRODUCER  130  190
    POST /                      SERVER    260  500
      receive                   INTERNAL  230  260
      decode                    INTERNAL  270  290
      preprocess                INTERNAL  300  350  role=transformer
      predict                   INTERNAL  360  450  role=transformer
      postprocess               INTERNAL  460  470  role=transformer
"""


def linked(sender: str = "sender", consumer: str = "bridge") -> list[Span]:
    """An image through Kafka whose consumer has a trace of its own, linked to the sender's."""
    lines = [line for line in KAFKA.splitlines() if line.strip()]
    beyond = "\n".join(line[4:] for line in lines[3:])
    return [
        *spans("\n".join(lines[:3]), sender),
        *spans(with_options(beyond, "process images", f"links={sender}/{sender}2"), consumer),
    ]


class Store:
    """Spans in parts."""

    def __init__(self, *parts: Sequence[Span]) -> None:
        self._parts = parts

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        """What a process may read each."""
        return [partial(trimmed_batches, partial(iter, part)) for part in self._parts]


def spans_in(parts: Iterable[Callable[[], Iterator[list[Span]]]]) -> list[Span]:
    """The spans of a store's parts, with the attributes that tables are made of."""
    return [span for part in parts for batch in part() for span in batch]
