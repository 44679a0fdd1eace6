"""Simulated measurements whose truth is known: hosts with clocks of their own, and names that are missing, or lie.

    python benchmarks/simulated_clocks.py --worlds 2000

Prints, as Markdown rows, how many printed figures enclose the true one, how wide their bounds are, whether what nothing
bounds is marked, whether segments add up, and how often two equal runs are called different.

A world has one to four hosts, whose clocks are up to 5 s off and drift by up to 500 ppm. Its images go by HTTP or
through Kafka, from our sender or from another client, past a gateway, and past consumers that only look. Each delay
is log-normal. Ids of spans repeat in every trace. The truth is what is measured of the same spans by one perfect
clock.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import re
import statistics
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec.structs import replace

from otel_kfs import semconv
from otel_kfs.analysis import comparison, pipeline
from otel_kfs.analysis.corrected_measurement import CorrectedMeasurement, corrected
from otel_kfs.analysis.measurement import Series
from otel_kfs.analysis.paths.segment import BROKER, DELIVER, TOTAL
from otel_kfs.report import render
from otel_kfs.report.tables import rows
from otel_kfs.traces.formats import otlp
from otel_kfs.traces.span import Kind, Span

SECOND, MS = 1_000_000_000, 1_000_000
EPOCH = 1_600_000_000 * SECOND
OFFSET, DRIFT = 5 * SECOND, 500_000  # at most: ns, and ns a second
NAMINGS = ("named", "missing", "some missing", "equal", "rotating", "pods on nodes")

_SENDER, _BRIDGE, _TRANSFORMER, _PREDICTOR, _LOGGER = "sender", "bridge", "transformer", "predictor", "logger"
_GATEWAY = "gateway"
SERVICES = (_SENDER, _BRIDGE, _TRANSFORMER, _PREDICTOR, _LOGGER, _GATEWAY)


class Clock(NamedTuple):
    """Shows so much more than the true time at the beginning, and so many ns more each second."""

    offset: int = 0
    drift: int = 0

    def shows(self, true: int) -> int:
        """Return what it shows at a moment, ns."""
        return true + self.offset + self.drift * (true - EPOCH) // SECOND


@dataclass
class World:
    """One simulated measurement: its spans as their clocks have them, with the resources that name their hosts."""

    naming: str
    true: list[Span]
    seen: list[tuple[dict[str, str], Span]]
    clocks: Mapping[tuple[str, str], Clock]  # by trace and service


def world(seed: int, images: int = 10, naming: str | None = None) -> World:
    """Draw a world."""
    draw = random.Random(seed)
    naming = naming or draw.choice(NAMINGS)
    nodes = [Clock()] + [
        Clock(draw.randint(-OFFSET, OFFSET), draw.choice([0, draw.randint(-DRIFT, DRIFT)])) for _ in range(3)
    ]
    of_service = {service: draw.randrange(len(nodes)) for service in SERVICES}
    if naming == "equal":
        # Clocks that are nearer to each other than requests take contradict nothing, nor does a record that only
        # travels: nobody could tell such hosts apart.
        nodes = [clock._replace(offset=number * SECOND) for number, clock in enumerate(nodes)]
        of_service[_BRIDGE] = of_service[_SENDER]
    kafka, foreign = draw.random() < 0.5, draw.random() < 0.3
    true, seen, clocks = [], [], {}
    at = EPOCH
    for number in range(images):
        trace = f"{seed:016x}{number:016x}"
        # A rollout: from then on the servers are other pods, perhaps elsewhere.
        if naming == "rotating" and number == images // 2:
            of_service |= {service: draw.randrange(len(nodes)) for service in (_TRANSFORMER, _PREDICTOR)}
        drawn = _image(draw, trace, at, through_kafka=kafka or (number % 2 == 1 and not foreign), foreign=foreign)
        at = max(span.end for span in drawn) + draw.randint(MS, SECOND)
        true += [replace(span, host="host") for span in drawn]
        for span in drawn:
            node = of_service[span.service]
            clock = clocks[trace, span.service] = nodes[node]
            moved = replace(span, start=clock.shows(span.start), end=clock.shows(span.end))
            seen.append((_resource(naming, span.service, node, number >= images // 2), moved))
    return World(naming, true, seen, clocks)


def _resource(naming: str, service: str, node: int, late: bool) -> dict[str, str]:
    named = {semconv.HOST_NAME: f"node-{node}"}
    if naming == "missing" or (naming == "some missing" and service in {_SENDER, _PREDICTOR}):
        return {}
    if naming == "equal":
        return {semconv.HOST_NAME: "localhost"}
    if naming == "rotating":
        return {semconv.HOST_NAME: f"{service}-{late:d}"}
    if naming == "pods on nodes":
        return {semconv.HOST_NAME: f"{service}-0", semconv.K8S_NODE_NAME: f"node-{node}"}
    return named


def _image(draw: random.Random, trace: str, start: int, *, through_kafka: bool, foreign: bool) -> list[Span]:
    """Return the true spans of one image; they lie within one another as those of one perfect clock do."""
    spans: list[Span] = []
    now = start

    def later() -> int:
        nonlocal now
        now += max(1000, round(draw.lognormvariate(math.log(3 * MS), 1)))
        return now

    def begin(name: str, kind: Kind, service: str, parent: Span | None = None, **attributes: Any) -> Span:
        span_id, parent_id = f"{len(spans) + 1:016x}", parent and parent.span_id
        span = Span(trace, span_id, parent_id, name, kind, later(), 0, service, "", False, attributes)
        spans.append(span)
        return span

    def end(span: Span) -> None:
        spans[int(span.span_id, 16) - 1] = replace(span, end=later())

    def step(name: str, service: str, parent: Span, **attributes: Any) -> None:
        end(begin(name, Kind.INTERNAL, service, parent, **attributes))

    def model(service: str, parent: Span, inner: bool) -> None:
        server = begin("POST /v1/models/m:predict", Kind.SERVER, service, parent)
        role = {semconv.ROLE: service}
        step(semconv.RECEIVE, service, server)
        step(semconv.DECODE, service, server)
        step(semconv.PREPROCESS, service, server, **role)
        predict = begin(semconv.PREDICT, Kind.INTERNAL, service, server, **role)
        if inner:
            ask = begin("POST", Kind.CLIENT, service, predict)
            model(_PREDICTOR, ask, False)
            end(ask)
        end(predict)
        step(semconv.POSTPROCESS, service, server, **role)
        end(server)

    def asked(service: str, parent: Span | None) -> Span:
        ask = begin("POST", Kind.CLIENT, service, parent)
        if not proxied:
            model(_TRANSFORMER, ask, True)
            end(ask)
            return ask
        gateway = begin("ingress", Kind.SERVER, _GATEWAY, ask)
        model(_TRANSFORMER, gateway, True)
        # Its span may end after who asked it has the answer.
        for span in draw.sample([gateway, ask], 2):
            end(span)
        return ask

    proxied = draw.random() < 0.3
    sizes = {semconv.IMAGE_SIZE: 1_100_000, semconv.PAYLOAD_SIZE: 1_500_000}
    transport = {semconv.TRANSPORT: semconv.KAFKA if through_kafka else semconv.HTTP}
    if foreign and not through_kafka:
        asked(_SENDER, None)
        return spans
    root = None
    if not foreign:
        root = begin(semconv.SEND_IMAGE, Kind.INTERNAL, _SENDER, None, **sizes, **transport)
        step(semconv.ENCODE, _SENDER, root)
    if not through_kafka:
        asked(_SENDER, root)
    else:
        record = begin("send images", Kind.PRODUCER, _SENDER, root)
        # The acknowledgement comes before the consumer has the record, or after it.
        early = draw.random() < 0.7
        if early:
            end(record)
        if draw.random() < 0.3:
            # Another group's consumer, which only looks.
            watch = begin("process images", Kind.CONSUMER, _LOGGER, record, **{_GROUP: "audit"})
            end(watch)
        process = begin("process images", Kind.CONSUMER, _BRIDGE, record, **{_GROUP: "bridges"})
        if not early:
            end(record)
        asked(_BRIDGE, process)
        end(process)
    if root is not None:
        end(root)
    return spans


_GROUP = semconv.MESSAGING_CONSUMER_GROUP_NAME


# --- what is measured of it ---


class Store:
    """Spans, in one part."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = list(spans)

    def parts(self) -> list[Any]:
        """Return that one."""
        return [lambda: iter([self._spans])]


def read_back(seen: Sequence[tuple[dict[str, str], Span]]) -> list[Span]:
    """Return the spans as they are read from OTLP-JSON, where their resources name their hosts, or do not."""
    by_resource: dict[tuple[str, str], list[Span]] = {}
    for resource, span in seen:
        by_resource.setdefault((json.dumps(resource), span.service), []).append(span)
    found: list[Span] = []
    for (resource, service), spans in by_resource.items():
        attributes = {**json.loads(resource), semconv.SERVICE_NAME: service}
        export = {
            "resource": {"attributes": [_attribute(*pair) for pair in attributes.items()]},
            "scopeSpans": [{"spans": [_exported(span) for span in spans]}],
        }
        found += otlp.read_line(json.dumps({"resourceSpans": [export]}).encode()) or []
    return found


def _attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def _exported(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id or "",
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.start),
        "endTimeUnixNano": str(span.end),
        "attributes": [_attribute(*pair) for pair in span.attributes.items()],
    }


def measured(spans: Sequence[Span]) -> CorrectedMeasurement[Series]:
    """Return what is measured of spans."""
    return corrected(pipeline.read(Store(spans), processes=1))  # type: ignore[arg-type]


# --- what is right of it ---

_PRINTED = re.compile(r"(-?[\d.]+)(?: \u00b1([\d.]+|\?))?")


@dataclass
class Score:
    """How many figures of each kind were printed, how many of them enclose the truth, and what is wrong elsewhere."""

    printed: Counter[str] = field(default_factory=Counter)
    false: Counter[str] = field(default_factory=Counter)
    widths: list[float] = field(default_factory=list)  # of bounds, ms
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Score) -> None:
        """Count in another's."""
        self.printed.update(other.printed)
        self.false.update(other.false)
        self.widths += other.widths
        self.wrong += other.wrong


def score(of: World) -> Score:
    """Compare every printed p50, and every figure of the two tables of 2020, with the truth."""
    found = Score()
    true, seen = measured(of.true), measured(read_back(of.seen))
    if seen.coverage != true.coverage:
        found.wrong.append(f"coverage {seen.coverage} for {true.coverage}")
        return found
    for series, own in zip(seen.series, true.series, strict=True):
        # Clocks that are set differently put the images in another order.
        of_truth = _in_order(own, series.trace_ids)
        if {*series.segments} != {*of_truth.segments}:
            found.wrong.append(f"segments of {series.labels}")
            continue
        sums = [0] * len(series)
        for durations in series.segments.values():
            for image, length in zip(durations.images, durations.values, strict=True):
                sums[image] += length
        if sums != series.totals():
            found.wrong.append("segments do not add up")
        # A duration is that by the clock of the host where it begins: what that clock drifts is beyond dispute.
        slack = 2 * DRIFT / SECOND
        shown, seconds = rows.segment_tables([series], seen.bounds)[0], rows.seed_tables([series])[0]
        names = {rows.segment_name(one): one for one in series.columns()}
        for name, p50, _ in shown.rows:
            truth = statistics.median(of_truth.columns()[names[name]])
            if names[name] == DELIVER and math.inf in series.bounds(BROKER):
                # It gives way to the consumer only where that one's clock is known; else it is the acknowledgement's.
                truth = statistics.median(span.end - span.start for span in of.true if span.kind is Kind.PRODUCER)
            _judge(found, name, render.cell(p50, "milliseconds"), truth / MS, slack * truth / MS, 0.1)
        image = series.median()
        stamps = [column[image] for column in of_truth.stamps]
        for name, figure, (later, earlier) in zip(
            ("2-1", "3-2", "4-3", TOTAL), seconds.rows[0][1:], ((1, 0), (2, 1), (3, 2), (3, 0)), strict=True
        ):
            if figure is not None:
                truth = (stamps[later] - stamps[earlier]) / SECOND
                _judge(found, name, render.cell(figure, "seconds"), truth, slack * truth, 0.001)
    return found


def _in_order(series: Series, trace_ids: Sequence[str]) -> Series:
    place = {trace_id: number for number, trace_id in enumerate(series.trace_ids)}
    one, two, three, four = (
        array("q", [column[place[trace_id]] for trace_id in trace_ids]) for column in series.stamps
    )
    return dataclasses.replace(series, trace_ids=list(trace_ids), stamps=(one, two, three, four))


def _judge(found: Score, name: str, text: str, truth: float, slack: float, digit: float) -> None:
    match = _PRINTED.fullmatch(text)
    if match is None:
        found.wrong.append(f"{name} is printed as {text}")
        return
    figure, bound = float(match[1]), match[2]
    kind = "exact" if bound is None else "unbounded" if bound == "?" else "bounded"
    found.printed[kind] += 1
    if kind == "unbounded":
        return
    within = digit / 2 if bound is None else float(bound)
    if kind == "bounded":
        found.widths.append(within * (1 if digit == 0.1 else 1000))
    if abs(figure - truth) > within + slack + 1e-9:
        found.false[kind] += 1
        found.wrong.append(f"{name} is printed as {text}, and is {truth:.4f}")


def false_alarm(seed: int, images: int = 12) -> bool:
    """Return whether two runs of one kind, with clocks of their own, are called different anywhere."""
    one, other = _run(seed, images), _run(seed + 1_000_000, images)
    found = comparison.compare(one.series, other.series, one.bounds, other.bounds)
    return any(of.total.differs or any(segment.differs for segment in of.segments) for of in found.of_sizes)


def _run(seed: int, images: int) -> CorrectedMeasurement[Series]:
    draw = random.Random(seed)
    nodes = {service: Clock(draw.randint(-OFFSET, OFFSET), draw.randint(-DRIFT, DRIFT)) for service in SERVICES}
    at, seen = EPOCH, []
    kafka = seed % 2 == 1
    for number in range(images):
        drawn = _image(draw, f"{number:032x}", at, through_kafka=kafka, foreign=False)
        at = max(span.end for span in drawn) + draw.randint(MS, SECOND)
        for span in drawn:
            clock = nodes[span.service]
            moved = replace(span, start=clock.shows(span.start), end=clock.shows(span.end))
            seen.append(({semconv.HOST_NAME: span.service}, moved))
    return measured(read_back(seen))


def scores(worlds: int, images: int, first: int = 0) -> Iterator[tuple[str, Score]]:
    """Yield each world's naming and score."""
    for seed in range(first, first + worlds):
        drawn = world(seed, images, NAMINGS[seed % len(NAMINGS)])
        yield drawn.naming, score(drawn)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--worlds", type=int, default=2000)
    arguments.add_argument("--images", type=int, default=10)
    arguments.add_argument("--pairs", type=int, default=500, help="of equal runs that are compared")
    options = arguments.parse_args()
    by_naming: dict[str, Score] = {naming: Score() for naming in NAMINGS}
    for naming, found in scores(options.worlds, options.images):
        by_naming[naming].add(found)
    print(
        "| hosts' names | exact | of them false | bounded | of them false | median bound, ms | unbounded | else wrong |"
    )
    print("|:--|--:|--:|--:|--:|--:|--:|--:|")
    for naming, of in by_naming.items():
        width = f"{statistics.median(of.widths):.1f}" if of.widths else "-"
        other = len(of.wrong) - sum(of.false.values())
        print(
            f"| {naming} | {of.printed['exact']} | {of.false['exact']} | {of.printed['bounded']} "
            f"| {of.false['bounded']} | {width} | {of.printed['unbounded']} | {other} |"
        )
    alarms = sum(false_alarm(seed) for seed in range(options.pairs))
    print(f"\n{alarms} of {options.pairs} comparisons of two equal runs call something different.")
    for line in [line for of in by_naming.values() for line in of.wrong][:20]:
        print(line)


if __name__ == "__main__":
    main()
