"""What trace stores share: their protocol, the time window of a query, and warnings about what was not read."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from threading import Lock
from typing import Protocol, TypeVar

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.concurrent import concurrent_map
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.query_url import parse_seconds
from otel_kfs.traces.span import Span

SEARCHES = 4  # at once; each answer may have hundreds of traces
DEPTH = 2000  # traces that one search may bring; a window with more is cut

# What reading a document raises when it is not what it should be.
NOT_TRACES = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)

_DEEPEST = 10_000  # the same, in a window that can't be cut further
_IDS = re.compile("[0-9a-f]{48}")  # a trace's id and a span's
_ID = re.compile("[0-9a-f]{16}")
_TIMES = range(2**64)  # OTLP's times are unsigned 64-bit integers
_NANOSECONDS = range(10**18, 42 * 10**17)  # of the years 2001 to 2103
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

_log = logging.getLogger(__name__)

Found = TypeVar("Found")


class MalformedError(ValueError):
    """What says in words where a document of a known format is not as it should be."""


def why_malformed(error: Exception) -> str:
    """Return what one of NOT_TRACES says."""
    return str(error) if isinstance(error, MalformedError) else f"{type(error).__name__}: {error}"


class TraceStore(Protocol):
    """Where spans come from."""

    def spans(self) -> Iterator[Span]:
        """All spans that were asked for; a span may come more than once.

        Raises:
            TraceQueryError: the store can't be read, or holds something else than traces.
        """
        ...

    def traces(self, ids: Collection[str]) -> Iterator[Span]:
        """Return the spans of these traces alone (ids in hex); ids that the store does not know give none."""
        ...

    def link(self, trace_id: str) -> str | None:
        """Return the URL at which a person looks at a trace, if there is one."""
        ...

    def parts(self) -> list[Callable[[], Iterator[list[Span]]]]:
        """Pieces of work that can be pickled and read in other processes; together they give what `spans` gives.

        Of a span's attributes they have those alone that tables are made of.
        """
        ...


_READ_AGAIN: ContextVar[bool] = ContextVar("_READ_AGAIN", default=False)


@contextmanager
def read_again() -> Iterator[None]:
    """Read what was read before: what is not read of it has been logged."""
    token = _READ_AGAIN.set(True)
    try:
        yield
    finally:
        _READ_AGAIN.reset(token)


class ReadProgress:
    """Reports in a few words what a store is doing; in another process it reports nothing."""

    def __init__(self, say: Callable[[str], None] | None = None) -> None:
        self._say = say

    def __call__(self, what: str) -> None:
        """Report the current step."""
        if self._say is not None:
            self._say(excerpt(what))

    def __reduce__(self) -> tuple[type[ReadProgress], tuple[()]]:
        return ReadProgress, ()


class ReadWarnings:
    """What a reader did not read, counted by reason, and logged as warnings at the end."""

    def __init__(self, *, strict: bool = False) -> None:
        """`strict`: raise an error instead where something can't be read."""
        self.strict = strict
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._lock = Lock()  # look-ups run side by side

    def add(self, what: str, where: object, detail: str = "") -> None:
        """Count something that can't be read; of the first of a kind, `where` (as text) and `detail` are kept.

        Raises:
            TraceQueryError: the reading is strict.
        """
        if self.strict:
            raise TraceQueryError(f"{where}: {what}{detail and f' ({excerpt(detail)})'}")
        self.note(what, where, detail)

    def note(self, what: str, where: object, detail: str = "") -> None:
        """Count something valid that is not read or looks odd; never an error, even in strict mode."""
        with self._lock:
            if what not in self._first:
                self._first[what] = excerpt(f"{where}{detail and f' ({detail})'}")
            self.counts[what] += 1

    def say(self) -> None:
        """Log a line for each reason, unless this is a second reading."""
        if _READ_AGAIN.get():
            return
        for what, count in self.counts.items():
            first = self._first[what]
            _log.warning("%s: %d, %s", what, count, first if count == 1 else f"the first: {first}")


def valid_spans(spans: Iterable[Span], warnings: ReadWarnings, where: object) -> Iterator[Span]:
    """Yield the valid spans, and count the invalid ones."""
    for span in spans:
        if _IDS.fullmatch(span.trace_id + span.span_id) is None or len(span.trace_id) != 32:
            warnings.add("spans left out for an invalid id", where)
        elif span.parent_id is not None and _ID.fullmatch(span.parent_id) is None:
            warnings.add("spans left out for an invalid parent id", where)
        elif span.start not in _TIMES or span.end not in _TIMES:
            as_if = "nanoseconds where microseconds belong?" if span.start // 1000 in _NANOSECONDS else ""
            warnings.add("spans left out for an invalid time", where, as_if)
        elif type(span.name) is not str:
            warnings.add("spans left out for a name that is not text", where)
        else:
            yield span


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, both ends in UTC."""

    start: datetime
    end: datetime

    def halves(self) -> list[Window]:
        """Return the earlier and the later half."""
        middle = self.start + (self.end - self.start) / 2
        return [Window(self.start, middle), Window(middle, self.end)]

    def around(self, times: Iterable[int], shortest: timedelta) -> list[Window]:
        """Cut the window into slices, the latest first, two of which span these times (ns since the epoch).

        Those two have the same duration, at least `shortest`. Away from them the slices double, so that both a few busy
        hours and an empty year take few slices. No slice is longer than half of the window, or `shortest` if that is
        more.
        """
        inside = [min(max(_EPOCH + timedelta(microseconds=time // 1000), self.start), self.end) for time in times]
        first, last = min(inside), max(inside)
        step = max((last - first) / 2, shortest)
        cuts = {self.start, first, last, self.end}
        if step < self.end - first:
            cuts.add(first + step)
        while step < self.end - self.start:
            if step < first - self.start:
                cuts.add(first - step)
            if step < self.end - last:
                cuts.add(last + step)
            step *= 2
        return [Window(start, end) for end, start in pairwise(sorted(cuts, reverse=True))]

    def __str__(self) -> str:
        return f"{self.start.isoformat(timespec='seconds')} to {self.end.isoformat(timespec='seconds')}"


def window(options: Mapping[str, str], now: datetime | None = None) -> Window:
    """Return the window of `lookback` (see `parse_seconds`), or of `start` and `end` (ISO 8601); default 1h.

    Raises:
        TraceQueryError: one of them can't be understood.
    """
    if "lookback" in options and "start" in options:
        raise TraceQueryError("lookback and start both say where the window begins; give one of them")
    end = _time("end", options["end"]) if "end" in options else now or datetime.now(timezone.utc)
    start = _time("start", options["start"]) if "start" in options else _before(end, options.get("lookback", "1h"))
    if start >= end:
        raise TraceQueryError(f"the window from {start.isoformat()} to {end.isoformat()} is empty")
    return Window(start, end)


def duration(name: str, text: str) -> timedelta:
    """Return the duration that an option gives (see `parse_seconds`).

    Raises:
        TraceQueryError: it can't be understood, or is longer than what can be waited for.
    """
    try:
        return timedelta(seconds=parse_seconds(text))
    except ValueError as error:
        raise TraceQueryError(f"{name}={error}") from error
    except OverflowError as error:
        raise TraceQueryError(f"{name}={excerpt(text, 40)} is too long") from error


class AnswerTooLarge(TraceQueryError):
    """An answer that is larger than we read; asking for less may help."""


Search = Callable[["Window", int], list[Found]]  # returns what is in a window, but at most so many


def in_slices(
    whole: Window,
    searches: Iterable[Search[Found]],
    start: Callable[[Found], int],
    longest: timedelta = timedelta.max,
    shortest: timedelta = timedelta(milliseconds=2),
) -> Iterator[Found]:
    """Yield all that some searches find in a window, though each returns a limited number at a time.

    If an answer reaches the limit, the window is cut around what it returned, which began at `start` (ns since the
    epoch): stores mostly return the latest, so this suggests where the rest is, and how dense. It is only a guess, on
    which nothing depends but the number of requests: a slice is cut until its answer is below the limit. If an answer
    is too large, a smaller number is asked for; if that is still too large, or a window is longer than `longest`, it is
    halved. Windows of `shortest` are not cut. What lies in two slices, or in one that reached the limit, comes more
    than once. SEARCHES slices are searched concurrently.
    """
    waiting = [(search, whole) for search in searches]
    while waiting:
        slices = []
        found_in = concurrent_map(lambda one: _found(*one, start, longest, shortest), waiting, SEARCHES)
        for (search, _), (found, rest) in zip(waiting, found_in, strict=True):
            yield from found
            slices += [(search, window) for window in rest]
        waiting = slices


def _found(
    search: Search[Found], window: Window, start: Callable[[Found], int], longest: timedelta, shortest: timedelta
) -> tuple[list[Found], Sequence[Window]]:
    """Return what a search finds in a window, and the slices of it that may hold more."""
    extent = window.end - window.start
    if extent > longest:
        return [], window.halves()
    last = extent <= shortest
    depth = _DEEPEST if last else DEPTH
    try:
        found = search(window, depth)
    except AnswerTooLarge:
        if last:
            raise
        # A few show where to cut.
        depth = max(DEPTH // 16, 1)
        try:
            found = search(window, depth)
        except AnswerTooLarge:
            return [], window.halves()
    if len(found) < depth:
        return found, ()
    if not last:
        return found, window.around(map(start, found), shortest)
    _log.warning("more than %d traces from %s: some are missing", depth, window)
    return found, ()


def _before(end: datetime, lookback: str) -> datetime:
    try:
        return end - duration("lookback", lookback)
    except OverflowError as error:
        raise TraceQueryError(f"lookback={lookback} is before the year 1") from error


def _time(name: str, text: str) -> datetime:
    try:
        # Python 3.10 does not know the Z of RFC 3339.
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return time.astimezone(timezone.utc) if time.tzinfo else time.replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError) as error:
        raise TraceQueryError(f"{name}={excerpt(text)} is not a time like 2026-01-31T12:00:00Z") from error
