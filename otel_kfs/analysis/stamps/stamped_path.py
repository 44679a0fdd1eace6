"""The path that a stamps file's stamps make through a trace: a section from each stamp to the next.

A path begins at each span that fits stamp 1 and is not below another one that does. Where a trace has one of them, the
other stamps' spans may be anywhere in it; where it has several, below that one. Of those that fit a stamp the first (or
the last, if the file says so) counts that is not before the stamp before it. A stamp without a span is a dash, and its
time is part of the next segment, which says so; without stamp 4 there is no path.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from otel_kfs.analysis.paths.coverage import Coverage, LeftOut
from otel_kfs.analysis.paths.critical_path import CriticalPath
from otel_kfs.analysis.paths.path_builder import PathBuilder
from otel_kfs.analysis.paths.segment import OWN_STAMPS, Place, Segment
from otel_kfs.analysis.paths.server_spans import own_steps, unanswered
from otel_kfs.analysis.stamps.stamps_file import FIRST, LAST, SECOND, THIRD, Stamp, StampsFile, as_text
from otel_kfs.traces.span import Kind, Span, SpanGraph

_DIGITS = 19  # of the largest number that 64 bits hold
_PAIRS = {Kind.SERVER: Kind.CLIENT, Kind.CONSUMER: Kind.PRODUCER}


def stamped_paths(graph: SpanGraph, stamps_file: StampsFile) -> tuple[list[CriticalPath], Coverage]:
    """Find the path from every outermost span that fits stamp 1, and count those that have none."""
    found, coverage = [], Coverage(what="path")
    first = stamps_file.stamps[0]
    fitting = sorted((span for span in graph if first.fits(span)), key=first.at)
    inner = {span.key for span in _below(fitting, graph)}
    # Where parents are a circle none is the outermost.
    beginnings = [span for span in fitting if span.key not in inner] or fitting[:1]
    named = {"size": stamps_file.size, "group": stamps_file.group}
    for span in beginnings:
        spans = [*graph] if len(beginnings) == 1 else [span, *_below([span], graph)]
        try:
            path, stamped = _path(span, spans, graph, stamps_file)
        except LeftOut as reason:
            coverage.left_out[str(reason)] += 1
        else:
            found.append(path)
            coverage.measured += 1
            for what, key in named.items():
                if key and _attribute(stamped, key) is None:
                    coverage.lacking[f"`{key}` ({what})"] += 1
    return found, coverage


def _below(spans: Iterable[Span], graph: SpanGraph) -> list[Span]:
    """Return all spans below some."""
    seen = set()
    found: list[Span] = []
    for one in chain(spans, found):  # which grows meanwhile
        for child in graph.children(one):
            if child.key not in seen:
                seen.add(child.key)
                found.append(child)
    return found


def _path(
    beginning: Span, spans: Sequence[Span], graph: SpanGraph, stamps_file: StampsFile
) -> tuple[CriticalPath, list[Span]]:
    """Return the path, and the spans whose edges its stamps are."""
    first, *others = stamps_file.stamps
    path = PathBuilder(beginning)
    path.at = first.at(beginning)
    at: dict[int | None, int] = {FIRST: path.at}
    hosts: dict[int | None, str] = {FIRST: beginning.host}
    stamped, missing = [beginning], []
    for order, stamp in enumerate(others, 1):
        span = _span_of(stamp, spans, path)
        if span is None:
            if stamp.number == LAST:
                raise LeftOut("no span is stamp 4")
            missing.append(stamp.segment)
            continue
        place = Place(OWN_STAMPS, order)
        path.to(Segment(place, stamp.segment, tuple(missing)), stamp.at(span), span)
        missing.clear()
        at[stamp.number], hosts[stamp.number] = path.at, span.host
        stamped.append(span)
    _note_order(path, spans, graph)
    stamps = (at[FIRST], at.get(SECOND), at.get(THIRD), at[LAST])
    stamp_hosts = (
        beginning.host,
        hosts.get(SECOND, beginning.host),
        hosts.get(THIRD, hosts.get(SECOND, beginning.host)),
        hosts[LAST],
    )
    path.check_stamps(stamps, stamp_hosts)
    path.check_sums()
    size = _attribute(stamped, stamps_file.size)
    in_bytes = None if stamps_file.unit else _in_bytes(size)
    path_found = CriticalPath(
        trace_id=beginning.trace_id,
        transport=stamps_file.title,
        image_size=in_bytes,
        payload_size=None,
        stamps=stamps,
        sections=tuple(path.sections),
        hosts=stamp_hosts,
        cell=_label(_attribute(stamped, stamps_file.group)) if stamps_file.group else "",
        before=tuple(path.before),
        linked=tuple(dict.fromkeys(one.trace_id for one in stamped if one.trace_id != beginning.trace_id)),
        root_id=beginning.span_id,
        row="" if in_bytes is not None else _row(size, stamps_file),
    )
    return path_found, stamped


def _span_of(stamp: Stamp, spans: Iterable[Span], path: PathBuilder) -> Span | None:
    """Return the first or last span that fits a stamp and is not before the stamp before it.

    Where all are before it, by the same clock, that is an order which is to be told; so one of them is returned.
    """
    fitting = sorted((span for span in spans if stamp.fits(span)), key=lambda span: (stamp.at(span), span.key))
    after = [span for span in fitting if span.host != path.host or stamp.at(span) >= path.at] or fitting
    return after[-1 if stamp.last else 0] if after else None


def _note_order(path: PathBuilder, spans: Iterable[Span], graph: SpanGraph) -> None:
    """Note what certainly came before what on two hosts: a request before its answer, a record before it was taken."""
    for caller in spans:
        if caller.kind not in _PAIRS.values() or caller.failed:
            continue
        for answering in graph.children(caller):
            if _PAIRS.get(answering.kind) is caller.kind:
                path.certain(caller.host, caller.start, answering.host, answering.start)
                if caller.kind is Kind.CLIENT:
                    outgoing = [one for one in graph.children(answering) if one.kind is Kind.CLIENT]
                    before = unanswered(answering, own_steps(answering, graph), outgoing)
                    path.certain(answering.host, before, caller.host, caller.end)


def _attribute(spans: Iterable[Span], key: str) -> object:
    """Return the value of an attribute in the first of these spans that has it."""
    return next((span.attributes[key] for span in spans if key in span.attributes), None) if key else None


def _in_bytes(size: object) -> int | None:
    """Return a size in bytes, which some programs write as text; None if it is something else."""
    if isinstance(size, str) and size.isdecimal() and len(size) <= _DIGITS:
        size = int(size)
    return size if type(size) is int and 0 <= size < 2**63 else None


def _row(size: object, stamps_file: StampsFile) -> str:
    """Return the label of a size that is not one in bytes."""
    if not stamps_file.size:
        return "all"
    return _label(size) if size is None else f"{_label(size)} {stamps_file.unit}".rstrip()


def _label(value: object) -> str:
    return "?" if value is None else as_text(value)
