"""PathBuilder, which puts a critical path together, point after point."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from otel_kfs.analysis.paths.coverage import LeftOut
from otel_kfs.analysis.paths.segment import Place, Segment, segment_at
from otel_kfs.traces.span import Key, Span


class Section(msgspec.Struct, frozen=True, gc=False):
    """What one image's path has of a segment, ns since the epoch; `hosts`: whose clocks its ends are by, if two.

    `gives_way`: what ends it is over for the image when the next section ends, even if its span lasts longer. That can
    be seen once the clocks are known.
    """

    segment: Segment
    start: int
    end: int
    hosts: tuple[str, str] | None = None
    gives_way: bool = False
    bound: float = 0  # how far off its duration may be, ns, once clocks are corrected; `math.inf`: nothing bounds it

    @property
    def duration(self) -> int:
        """Nanoseconds."""
        return self.end - self.start


# A host and a moment by its clock, ns since the epoch, that came before a moment by another's.
HappensBefore = tuple[str, int, str, int]


class PathBuilder:
    """The points of one path, as they are found."""

    def __init__(self, root: Span) -> None:
        self.root, self.at, self.host = root, root.start, root.host
        self.sections: list[Section] = []
        self.before: list[HappensBefore] = []
        self.latest: int | None = None  # points are not later, whatever their spans say
        self.sent: int | None = None  # by when the request was not sent yet, if its span was placed after that
        self.handed_on: list[Span] = []  # of the proxies that have the request, those in which they hand it on
        self.retries = 0  # attempts that failed, of whatever request
        self._crossed = False  # from one host to another
        self._missing: list[str] = []
        self._met: dict[Place, int] = {}
        self._entered: set[Key] = set()

    def to(self, segment: Segment, at: int, span: Span, *, gives_way: bool = False) -> None:
        """Go on to an edge of `span`; the time since the last point is `segment`, which may give way to the next."""
        if self._missing:
            segment = segment._replace(missing=tuple(self._missing))
            self._missing.clear()
        if self.latest is not None and at > self.latest:
            at = self.latest
        hosts = None
        if span.host != self.host:
            hosts = self.host, span.host
            self.host, self._crossed = span.host, True
        elif at < self.at:
            raise LeftOut(f"`{span.name}` is out of order")
        self.sections.append(Section(segment, self.at, at, hosts, gives_way))
        self.at = at

    def through(self, before: Segment, inside: Segment, span: Span) -> None:
        """Go to a span's start, and through it to its end."""
        self.to(before, span.start, span)
        self.to(inside, span.end, span)

    def back_from(self, span: Span, duration: int, segment: Segment) -> None:
        """Go to `duration` ns before a span's start, but not back."""
        at = span.start - duration
        self.to(segment, max(self.at, at) if span.host == self.host else at, span)

    def over(self, place: Place, step: str, span: Span | None) -> None:
        """Go through a step; a missing one is named in the segment that has its time."""
        if span is None:
            self.miss(step)
        else:
            self.through(segment_at(place), segment_at(place, step), span)

    def miss(self, step: str) -> None:
        """Note that a step has no span; the next segment, which has its time, is to name it."""
        self._missing.append(step)

    def until(self, before: Segment, retries: Segment, attempts: Sequence[Span]) -> None:
        """Go to the start of the last of some attempts; the time since the first is retries."""
        self.to(before, attempts[0].start, attempts[0])
        if len(attempts) > 1:
            self.to(retries, attempts[-1].start, attempts[-1])
            self.retries += len(attempts) - 1

    def meet(self, name: str, before: Place | None = None) -> Place:
        """Return the place of somebody whom the path meets: numbered from the second of that name on."""
        place = Place(name, before=before)
        number = self._met[place] = self._met.get(place, 0) + 1
        return place if number == 1 else place._replace(occurrence=number)

    def enter(self, server: Span) -> None:
        """Go into a server; spans that are linked to several requests could lead into one again and again."""
        if server.key in self._entered:
            raise LeftOut(f"`{server.name}` is out of order")
        self._entered.add(server.key)

    def certain(self, host: str, at: int, other: str, later: int) -> None:
        """Note that what happened at `at` by one host's clock came before what happened at `later` by the other's."""
        if host != other:
            self.before.append((host, at, other, later))

    def arrived(self, caller: Span, receiver: Span, at: int) -> None:
        """Note that a request arrived by the receiver's clock after it was sent by the caller's."""
        sent = caller.start if self.sent is None else self.sent
        self.certain(caller.host, sent, receiver.host, at)
        for span in self.handed_on:
            self.certain(caller.host, sent, span.host, span.start)
            self.certain(span.host, span.start, receiver.host, at)
        self.sent, self.handed_on = None, []

    def answered(self, caller: Span, at: int) -> None:
        """Note that an answer that was not sent before, by the clock of where the path is, came back to the caller."""
        for span in (caller, *self.handed_on):
            self.certain(self.host, at, span.host, span.end)
        self.handed_on = []

    def check_stamps(self, stamps: Sequence[int | None], hosts: Sequence[str]) -> None:
        """Leave an image out of which a stamp is before an earlier one by the same clock: it was set back meanwhile."""
        latest: dict[str, int] = {}
        for number, (at, host) in enumerate(zip(stamps, hosts, strict=True), 1):
            if at is not None:
                if at < latest.get(host, at):
                    raise LeftOut(f"stamp {number} is out of order")
                latest[host] = at

    def check_sums(self) -> None:
        """Leave an image out whose times, or their sums, do not fit 64 bits; clocks can be wrong by centuries."""
        largest = self.at
        if self._crossed:
            whole = sum(abs(one.duration) for one in self.sections)
            largest = max(self.sections[0].start, *(one.end for one in self.sections), whole)
        if largest >= 2**63:
            raise LeftOut("times that are too far apart")
