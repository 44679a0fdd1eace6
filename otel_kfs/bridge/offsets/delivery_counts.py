"""How often the records of a partition were delivered, small enough for the metadata of a commit."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

_METADATA_KEY = "otel_kfs.handed_out"
_END_OF_OFFSETS, _MANY = 2**63, 2**31
_MOST_STEPS = 50  # in the metadata: 1 kB, of which a broker takes 4 (offset.metadata.max.bytes)


@dataclass(frozen=True)
class DeliveryCounts:
    """The deliveries of each record, as steps by rising offset: (offset, how often each record below it was)."""

    steps: tuple[tuple[int, int], ...] = ()

    def of(self, offset: int) -> int:
        """Return how often a record was delivered: what the first step beyond it says."""
        place = bisect_right(self.steps, offset, key=itemgetter(0))
        return self.steps[place][1] if place < len(self.steps) else 0

    def with_delivery(self, end: int) -> DeliveryCounts:
        """Count one more delivery of all records below `end`."""
        ends = sorted({*(known for known, _ in self.steps), end})
        counts = ((known, self.of(known - 1) + (known <= end)) for known in ends)
        return DeliveryCounts(tuple((known, times) for known, times in counts if known and times))

    def merge(self, other: DeliveryCounts) -> DeliveryCounts:
        """Take for each record the greater number that either says."""
        ends = sorted({end for end, _ in (*self.steps, *other.steps)})
        return DeliveryCounts(tuple((end, max(self.of(end - 1), other.of(end - 1))) for end in ends))

    def beyond(self, position: int) -> DeliveryCounts:
        """Leave out the records below a position."""
        return DeliveryCounts(tuple(step for step in self.steps if step[0] > position))

    def to_metadata(self) -> str:
        """Write them as a commit's metadata, shortened to what a broker takes."""
        return json.dumps({_METADATA_KEY: self.steps[:_MOST_STEPS]}, separators=(",", ":")) if self.steps else ""

    @classmethod
    def from_metadata(cls, metadata: Any) -> DeliveryCounts:
        """Read a commit's metadata; no deliveries where somebody else wrote it."""
        try:
            steps = tuple((end, times) for end, times in json.loads(metadata)[_METADATA_KEY])
        except (TypeError, ValueError, KeyError, RecursionError):
            return cls()
        ends = [0, *(end for end, _ in steps)]
        is_ours = (
            all(type(number) is int for step in steps for number in step)
            and all(before < end < _END_OF_OFFSETS for before, end in pairwise(ends))
            and all(0 < times < _MANY for _, times in steps)
        )
        return cls(steps[:_MOST_STEPS]) if is_ours else cls()
