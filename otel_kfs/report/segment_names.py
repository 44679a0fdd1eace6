"""What a segment is called wherever it is printed."""

from __future__ import annotations

from functools import lru_cache

from otel_kfs.analysis.paths.segment import CLIENT, KAFKA, ORDER, OWN_STAMPS, Segment, Stretch

# What the client and Kafka do is called by the step alone: `encode`, `broker`.
_BY_STEP = frozenset(one for one in ORDER if one.place in {CLIENT, KAFKA} and one.step)


@lru_cache
def segment_name(stretch: Stretch) -> str:
    """Return `encode`, `predictor 2 request`, `transformer (no transformer decode span)`; `4-1` stays what it is."""
    if isinstance(stretch, str):
        return stretch
    place, step, missing = stretch
    if missing:
        swallowed = ", ".join(segment_name(Segment(place, one)) for one in missing)
        return f"{segment_name(Segment(place, step))} (no {swallowed} span)"
    if stretch in _BY_STEP or place.name == OWN_STAMPS:
        return step
    return f"{place.label} {step}" if step else place.label


def step_name(stretch: Stretch) -> str:
    """Return the shortest name, for where the place is shown otherwise: `decode`, `transformer`."""
    return stretch if isinstance(stretch, str) else stretch.step or stretch.place.name
