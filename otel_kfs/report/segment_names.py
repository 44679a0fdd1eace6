"""What a segment, and the time between two stamps, is called: for people, and in records."""

from __future__ import annotations

from functools import lru_cache

from otel_kfs.analysis.paths.segment import CLIENT, KAFKA, ORDER, OWN_STAMPS, TOTAL, Segment, Stretch

TOTAL_NAME = f"total ({TOTAL})"

# What the client and Kafka do is called by the step alone: `encode`, `broker`.
_BY_STEP = frozenset(one for one in ORDER if one.place in {CLIENT, KAFKA} and one.step)


@lru_cache
def segment_name(stretch: Stretch) -> str:
    """Return `encode`, `predictor 2 request`, `transformer (no transformer decode span)`; of 4-1, `total (4-1)`."""
    if isinstance(stretch, str):
        return TOTAL_NAME if stretch == TOTAL else stretch
    place, step, missing = stretch
    if missing:
        swallowed = ", ".join(segment_name(Segment(place, one)) for one in missing)
        return f"{segment_name(Segment(place, step))} (no {swallowed} span)"
    if stretch in _BY_STEP or place.name == OWN_STAMPS:
        return step
    return f"{place.label} {step}" if step else place.label


def segment_key(stretch: Stretch) -> str:
    """Return the same for records, which other programs read: there 4-1 stays what it is."""
    return stretch if isinstance(stretch, str) else segment_name(stretch)


def step_name(stretch: Stretch) -> str:
    """Return the shortest name, for where the place is shown otherwise: `decode`, `transformer`."""
    return segment_name(stretch) if isinstance(stretch, str) else stretch.step or stretch.place.name
