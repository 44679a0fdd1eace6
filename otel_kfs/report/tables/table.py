"""What a table is: columns, rows of cells, and notes; how its cells are written is up to `render`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Unit = Literal["text", "count", "unix", "seconds", "milliseconds"]


class Bounded(NamedTuple):
    """A duration that may be off by `bound` either way, ns: a cell's value, printed as `12.3 \u00b10.4`.

    Where nothing bounds it, that is `math.inf`, and it is printed as `12.3 \u00b1?`.
    """

    duration: int
    bound: float


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and what its cells are: times and durations are nanoseconds until they are rendered.

    In place of a duration a cell may hold a `Bounded` or an `Interval`. Where a table is too wide for a terminal, its
    columns are shown below one another: each time behind the first one and those that `repeats` says, and never apart
    from the one that they are `joined` to, which stands before.
    """

    heading: str
    unit: Unit
    repeats: bool = False
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title; a cell is None where there is nothing to say. `notes` go below.

    Without columns it is text, which needs no title.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()


def bounded(duration: int | None, bound: float) -> int | Bounded | None:
    """Return a duration, if there is one, with its bound unless it is exact."""
    return Bounded(duration, bound) if bound and duration is not None else duration
