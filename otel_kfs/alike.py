"""The ways of images in many traces: of those that look alike, one is searched.

The search (`segments.py`) decides by what spans are, by their kinship, and by which of two moments is the later one;
never by how long something took. So it is done with ranks in place of times, and what it finds holds for every trace
that has the same spans, in the same order, with the same ranks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from otel_kfs import names
from otel_kfs.measurement import Image, Measurement, Mould
from otel_kfs.segments import Account, Journey, journeys, size_in_bytes
from otel_kfs.sorting import Aliases
from otel_kfs.traces.batch import FIELDS, Flat, Traces, What, Whats, spans_of
from otel_kfs.traces.span import Forest, Kind

_MOST = 2_000  # ways that are remembered
_LARGE = 200 * FIELDS  # a trace of so many fields is searched by itself
# Ranks can be added up, whatever times they stand for; so of times that are further apart, each is searched by itself.
_SPREAD = 2**50  # ns

# Parts of a request of ours, which are for people who look at its trace; the search passes them, if nothing is below.
_PASSED = frozenset({names.UPLOAD, names.WAIT})

_Found = tuple[list[Journey], Account]


class _Known:
    """What was found in a trace, and other traces that look like it."""

    def __init__(self, moulds: list[tuple[Mould, int | None, int | None]], account: Account) -> None:
        """Moulds with the places of the spans that have the image's size and the payload's."""
        self._moulds, self._account = moulds, account
        self.waiting: list[tuple[str, list[int], list[Any]]] = []  # their ids, moments, and `Else` of each span

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
        self._known: dict[Any, _Known] = {}
        self._passed: set[int] = set()  # numbers of what the search passes over

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
        for known in self._known.values():
            known.count(self._measurement)
        if len(self._known) > _MOST or len(self._whats) > _MOST:
            self._known.clear()
            self._whats.clear()
            self._numbers.clear()
            self._passed.clear()

    def _number(self, what: What) -> int:
        number = self._numbers.get(what)
        if number is None:
            number = self._numbers[what] = len(self._whats)
            self._whats.append(what)
            if what[0] in _PASSED and what[1] == Kind.INTERNAL:
                self._passed.add(number)
        return number

    def _measure_one(self, trace_id: str, flat: Flat) -> None:
        if self._passed and not self._passed.isdisjoint(numbers := flat[4::FIELDS]):
            self._pass_over(flat, numbers)
            if not flat:
                return
        span_ids, times, more = flat[0::FIELDS], flat[2::FIELDS] + flat[3::FIELDS], flat[5::FIELDS]
        places = dict(zip(span_ids, range(len(span_ids)), strict=True))
        moments = sorted(set(times))
        near = moments[-1] < 2**62 and moments[-1] - moments[0] < _SPREAD
        if not near or len(places) < len(span_ids) or len(flat) > _LARGE:
            self._count([(trace_id, flat)])
            return
        places[None] = -1
        ranks = dict(zip(moments, range(len(moments)), strict=True))
        key = (
            *flat[4::FIELDS],
            *map(places.get, flat[1::FIELDS]),
            *map(ranks.__getitem__, times),
            *[one and (_is_size(one[0]), _is_size(one[1]), *map(places.get, one[2])) for one in more],
        )
        known = self._known.get(key)
        if known is None:
            journeys, account = _search([(trace_id, _with_ranks(flat, ranks))], self._whats)
            moulds = [(Mould(self._measurement, one), one.image_size, one.payload_size) for one in journeys]
            known = self._known[key] = _Known(moulds, account)
        known.waiting.append((trace_id, moments, more))

    def _pass_over(self, flat: Flat, numbers: list[int]) -> None:
        """Take out what the search passes: when an upload ended would tell traces apart that are one to it."""
        above = set(flat[1::FIELDS])
        for links in [one[2] for one in flat[5::FIELDS] if one and one[2]]:
            above.update(links)
        for place in range(len(numbers) - 1, -1, -1):
            if numbers[place] in self._passed and flat[place * FIELDS] not in above:
                del flat[place * FIELDS : place * FIELDS + FIELDS]

    def _count(self, together: Iterable[tuple[str, Flat]]) -> None:
        journeys, account = _search(together, self._whats)
        self._measurement.account.merge(account)
        for journey in journeys:
            self._measurement.add(journey)


def _is_size(value: Any) -> bool:
    return size_in_bytes(value) is not None


def _search(together: Iterable[tuple[str, Flat]], whats: list[What]) -> _Found:
    return journeys(Forest([span for trace_id, flat in together for span in spans_of(trace_id, flat, whats)]))


def _with_ranks(flat: Flat, ranks: dict[int, int]) -> Flat:
    """The same spans with ranks for times, and their places for sizes."""
    made = list(flat)
    for at in (2, 3):
        made[at::FIELDS] = map(ranks.__getitem__, flat[at::FIELDS])
    made[5::FIELDS] = [
        one and (place if _is_size(one[0]) else None, place if _is_size(one[1]) else None, *one[2:])
        for place, one in enumerate(flat[5::FIELDS])
    ]
    return made
