"""What a store holds in which nothing could be measured: its spans, their services, and what traces begin with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

from otel_kfs.traces.store import TraceStore, read_again

_Name = TypeVar("_Name", str, tuple[str, str])
_MOST_LOOKED_AT = 200_000  # spans of which is known whether their parents are there
_MOST_NAMES = 10_000  # of services, and of roots, that are told apart


@dataclass(slots=True)
class StoreContents:
    """Counts of a store's spans; a root is a span whose parent is not there, by its name and service."""

    spans: int = 0
    traces: int = 0
    services: Counter[str] = field(default_factory=Counter)
    roots: Counter[tuple[str, str]] = field(default_factory=Counter)


def contents_of(store: TraceStore) -> StoreContents:
    """Return what a store holds; it is read once more.

    Raises:
        TraceQueryError: it can't be read.
    """
    found, ids = StoreContents(), set[int]()
    there, below = set[int](), list[tuple[int, tuple[str, str]]]()  # spans, and those with a parent and which that is
    with read_again():
        for batch in chain.from_iterable(part() for part in store.parts()):
            for span in batch:
                found.spans += 1
                ids.add(hash(span.trace_id))
                found.services.update(_counted(found.services, span.service))
                if span.parent_id is None:
                    found.roots.update(_counted(found.roots, (span.name, span.service)))
                elif len(below) < _MOST_LOOKED_AT:
                    below.append((hash((span.trace_id, span.parent_id)), (span.name, span.service)))
                if len(there) < _MOST_LOOKED_AT:
                    there.add(hash(span.key))
    found.traces = len(ids)
    if found.spans <= _MOST_LOOKED_AT:
        for parent, name in below:
            if parent not in there:
                found.roots.update(_counted(found.roots, name))
    return found


def _counted(counter: Counter[_Name], name: _Name) -> list[_Name]:
    """Return a name to count, unless very many others are counted already."""
    return [name] if name in counter or len(counter) < _MOST_NAMES else []
