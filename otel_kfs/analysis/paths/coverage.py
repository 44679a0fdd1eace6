"""Coverage: how many images were measured, and how many were left out for which reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

NOT_PROCESSED = "delivered, but not processed"  # a reason to leave an image out


class LeftOut(Exception):
    """Why an image can't be measured."""


@dataclass(slots=True)
class Coverage:
    """What became of every image's trace: measured, or left out for a named reason."""

    measured: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    redelivered: int = 0
    in_batches: int = 0  # that shared a request with others
    roots: Counter[str] = field(default_factory=Counter)  # what images began with that no sender of ours sent
    # What a stamps file names, and no span that it stamps on a path has.
    lacking: Counter[str] = field(default_factory=Counter)
    what: str = "image"  # in English: what was measured; a `path` where a stamps file says which

    def merge(self, other: Coverage) -> None:
        """Count another's in."""
        self.measured += other.measured
        self.left_out.update(other.left_out)
        self.retried += other.retried
        self.redelivered += other.redelivered
        self.in_batches += other.in_batches
        self.roots.update(other.roots)
        self.lacking.update(other.lacking)
        if other.measured or other.left_out:
            self.what = other.what
