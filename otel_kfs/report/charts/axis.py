"""A linear axis with round ticks, and the durations that are written beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from otel_kfs.report.charts.svg import text_width
from otel_kfs.report.enclosing import off

MS = 1e6  # ns


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale that maps `low` to `high` (any unit) onto `start` to `end` (pixels)."""

    low: float
    high: float
    start: float
    end: float
    step: float | None = None  # between its ticks; None: `ticks` is asked how many there should be

    def __call__(self, value: float) -> float:
        """Return where a value lies, pixels."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Return about that many round values within the axis, or those that it was made for."""
        step = self.step or _round_step((self.high - self.low) / max(about, 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def axis(values: Iterable[float], start: float, end: float, *, zero: bool = True, about: int = 5) -> Axis:
    """Make an axis that holds all values (and 0) and ends at round values beyond them; it has `about` so many ticks."""
    values = list(values)
    low, high = min(values, default=0.0), max(values, default=1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-9 * max(abs(high), abs(low), 1.0):
        low, high = (low, low + 1) if zero else (low - abs(low) * 0.05 - 1, high + abs(high) * 0.05 + 1)
    room = (high - low) * 0.01
    step = _round_step((high - low) / max(about, 1))
    first = low if zero and low == 0 else math.floor((low - room) / step) * step
    return Axis(first, math.ceil((high + room) / step) * step, start, end, step)


def milliseconds(nanoseconds: float) -> str:
    """Write a duration in ms with the digits that matter beside a chart: `0.04`, `5.3`, `742`."""
    value = nanoseconds / MS
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 0.995 else 2
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def within(nanoseconds: float, bound: float) -> str:
    """Write the same with what two hosts' clocks leave open of it, ns: `742`, `33.1 \u00b14.2`, `5034 \u00b1?`."""
    text = milliseconds(nanoseconds)
    if not bound:
        return text
    return f"{text} \u00b1{off(nanoseconds, bound, MS, len(text.partition('.')[2]))}"


def labelled(values: Sequence[float], unit: str) -> list[tuple[float, str]]:
    """Return ticks with their labels; the last one has the unit: `0`, `500`, `1000 ms`."""
    return [(value, tick(value) + (f" {unit}" if value == values[-1] else "")) for value in values]


def apart(ticks: Sequence[tuple[float, str]], scale: Axis, size: float, edge: float) -> list[tuple[float, str, str]]:
    """Return where labels below an axis stand, pixels, with their text anchors; the last one ends at `edge` at most.

    A label that would touch the last one, which has the unit, is left out.
    """
    *others, (last, unit) = ticks
    half = text_width(unit, size) / 2
    end = (scale(last), unit, "middle") if scale(last) + half <= edge else (edge, unit, "end")
    begin = min(scale(last) - half, edge - 2 * half)
    middle = [(scale(value), label) for value, label in others]
    return [*((x, label, "middle") for x, label in middle if x + text_width(label, size) / 2 + 3 < begin), end]


def tick(value: float) -> str:
    """Return a tick's label, without needless digits."""
    return f"{value:.10g}".replace("-", "\N{MINUS SIGN}")


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    # The nearest one by ratio: the bounds are the geometric means of neighbours.
    return power * next(
        step for step, above in ((10, 50**0.5), (5, 10**0.5), (2, 2**0.5), (1, 0)) if rough >= above * power
    )
