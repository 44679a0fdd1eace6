"""What a store that measures images itself hands over: finished ways, and the spans of those that it leaves to us."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from otel_kfs.traces.span import Span

Segment = tuple[str, int, int, "tuple[str, str] | None"]  # name, start, end (ns since the epoch), hosts if it has two
Before = tuple[str, int, str, int]  # a host and a moment by its clock that came before a moment by another's


class Finished(NamedTuple):
    """One image's way, as `segments.Journey` has it."""

    trace_id: str
    transport: str
    image_size: int | None  # bytes
    payload_size: int | None  # bytes
    stamps: tuple[int, int, int, int]  # ns since the epoch
    segments: tuple[Segment, ...]
    encoding: str
    compression: str
    cell: str
    before: tuple[Before, ...]
    run: str


class LeftOut(NamedTuple):
    """A trace whose image can't be measured, and why."""

    trace_id: str
    reason: str


@runtime_checkable
class Finishing(Protocol):
    """A trace store that finishes what it can."""

    def finished(self) -> Iterator[Finished | LeftOut | Span]:
        """Every image once: its way, or why it has none, or all spans of its trace.

        Raises:
            TraceQueryError: the store can't be read, or holds something else than traces.
        """
        ...
