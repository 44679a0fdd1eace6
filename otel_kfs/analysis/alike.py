"""The ways of images in many traces: of those that look alike, one is searched.

The search (`segments.py`) decides by what spans are, by their kinship, and by which of two moments is the earlier one;
never by how long something took. So what it finds holds for every trace with the same spans of the same kin where the
moments that it compared (`decisions.py`) are in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from otel_kfs.analysis.critical_path import Coverage, CriticalPath, critical_paths, is_idle, size_in_bytes
from otel_kfs.analysis.decisions import Decisions, noting
from otel_kfs.analysis.group_by_trace import Aliases
from otel_kfs.analysis.measurement import Image, Measurement, Mould
from otel_kfs.traces.batch import FIELDS, Else, Flat, Traces, What, Whats, spans_of
from otel_kfs.traces.span import SpanGraph

_MOST = 2_000  # ways that are remembered
_LARGE = 200 * FIELDS  # a trace of so many fields is searched by itself
# Times that are further apart may not fit into 64 bits when they are added up: these are searched each by itself.
_SPREAD = 2**50  # ns

_Span = tuple[str, str | None, int, int, int, Else | None]  # the FIELDS of one
_start = itemgetter(2)

_Found = tuple[list[CriticalPath], Coverage]


class _Known:
    """What was found in a trace, and other traces that look like it."""

    def __init__(self, moulds: list[tuple[Mould, int | None, int | None]], account: Coverage) -> None:
        """Moulds with the places of the spans that have the image's size and the payload's."""
        self._moulds, self._account = moulds, account
        self.waiting: list[tuple[str, Sequence[int], Sequence[Any]]] = []  # id, moments, `Else` of each span

    def count(self, measurement: Measurement) -> None:
        """Count in the images of the traces that wait."""
        if not self.waiting:
            return
        measurement.account.merge(self._account, len(self.waiting))
        for mould, image, payload in self._moulds:
            mould.add(
                Image(
                    trace_id,
                    moments,
                    None if image is None else more[image][0],
                    None if payload is None else more[payload][1],
                )
                for trace_id, moments, more in self.waiting
            )
        self.waiting.clear()


class Ways:
    """What was found in traces, by how they look."""

    def __init__(self, measurement: Measurement) -> None:
        """All images are counted in there."""
        self._measurement = measurement
        self._whats: list[What] = []
        self._numbers: dict[What, int] = {}
        self._idle: set[int] = set()  # the numbers of what the search passes over
        self._decisions: dict[Any, Decisions[_Known]] = {}  # by all that it looks at besides moments
        self._known: list[_Known] = []

    def measure(self, blocks: Iterable[tuple[Whats, Traces]], aliases: Aliases) -> None:
        """Count in the images of some traces; an alias's spans are read with those of its other trace."""
        traces: Traces = {}
        for whats, more in blocks:
            numbers = {number: self._number(what) for number, what in whats.items()}
            for trace_id, flat in more.items():
                flat[4::FIELDS] = [numbers[number] for number in flat[4::FIELDS]]
                if (before := traces.get(trace_id)) is None:
                    traces[trace_id] = flat
                else:
                    before += flat
        joined: dict[str, list[tuple[str, Flat]]] = {}
        if aliases:
            for trace_id in [*aliases, *aliases.values()]:
                if (joint := traces.pop(trace_id, None)) is not None:
                    joined.setdefault(aliases.get(trace_id, trace_id), []).append((trace_id, joint))
        for together in joined.values():
            self._count(together)
        for trace_id, flat in traces.items():
            self._measure_one(trace_id, flat)
        for known in self._known:
            known.count(self._measurement)
        if len(self._known) > _MOST or len(self._whats) > _MOST:
            for kept in (self._known, self._decisions, self._whats, self._numbers, self._idle):
                kept.clear()

    def _number(self, what: What) -> int:
        number = self._numbers.get(what)
        if number is None:
            number = self._numbers[what] = len(self._whats)
            self._whats.append(what)
            if is_idle(what[0], what[1]):
                self._idle.add(number)
        return number

    def _measure_one(self, trace_id: str, flat: Flat) -> None:
        if len(flat) > _LARGE or len(set(flat[0::FIELDS])) * FIELDS < len(flat):
            self._count([(trace_id, flat)])
            return
        spans: list[_Span] = list(zip(*[iter(flat)] * FIELDS, strict=True))
        if self._idle and not self._idle.isdisjoint(flat[4::FIELDS]):
            spans = self._without_idle(spans)
            if not spans:
                return
        # As the search has them: of those that start at once the one first that was read first, and in no other case.
        spans.sort(key=_start)
        span_ids, parent_ids, starts, ends, numbers, more = zip(*spans, strict=True)
        moments = starts + ends
        last = max(moments)
        if abs(last) >= 2**62 or last - min(moments) >= _SPREAD:
            self._count([(trace_id, flat)])
            return
        places = dict(zip(span_ids, range(len(spans)), strict=True))
        places[None] = -1
        key = (
            *numbers,
            *map(places.get, parent_ids),
            *[one and (_is_size(one[0]), _is_size(one[1]), *map(places.get, one[2])) for one in more],
        )
        decisions = self._decisions.get(key)
        if decisions is None:
            decisions = self._decisions[key] = Decisions()
        known = decisions.find(moments)
        if known is None:
            known = self._learn(decisions, trace_id, spans, moments)
        known.waiting.append((trace_id, moments, more))

    def _without_idle(self, spans: list[_Span]) -> list[_Span]:
        """But for those that the search passes over: they would tell traces apart that are one to it."""
        above = {parent_id for _, parent_id, *_ in spans}
        for *_, more in spans:
            if more:
                above.update(more[2])
        idle = self._idle
        return [span for span in spans if span[4] not in idle or span[0] in above]

    def _learn(self, decisions: Decisions[_Known], trace_id: str, spans: list[_Span], moments: Sequence[int]) -> _Known:
        """Search a trace, with numbers for its moments and places for its sizes."""
        numbered, answers = noting(moments)
        flat: Flat = []
        for place, (span_id, parent_id, _, _, number, more) in enumerate(spans):
            flat += (span_id, parent_id, numbered[place], numbered[place + len(spans)], number)
            flat.append(more and (*[place if _is_size(size) else None for size in more[:2]], *more[2:]))
        found, account = _search([(trace_id, flat)], self._whats)
        moulds = [(Mould(self._measurement, one), one.image_size, one.payload_size) for one in found]
        known = _Known(moulds, account)
        # Starts are in order already; whether two are the same moment is another question.
        starts = len(spans)
        asked = {(one, other): answer for (one, other), answer in answers.items() if not other <= one < starts}
        decisions.learn(asked, known)
        self._known.append(known)
        return known

    def _count(self, together: Iterable[tuple[str, Flat]]) -> None:
        critical_paths, account = _search(together, self._whats)
        self._measurement.account.merge(account)
        for journey in critical_paths:
            self._measurement.add(journey)


def _is_size(value: Any) -> bool:
    return size_in_bytes(value) is not None


def _search(together: Iterable[tuple[str, Flat]], whats: list[What]) -> _Found:
    return critical_paths(SpanGraph([span for trace_id, flat in together for span in spans_of(trace_id, flat, whats)]))
