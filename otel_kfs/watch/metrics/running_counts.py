"""What the service counts itself, as metrics: spans that came, late and lost ones, requests that were not taken."""

from __future__ import annotations

from collections.abc import Iterable

from otel_kfs.traces.printable import excerpt
from otel_kfs.watch.metrics.definitions import (
    DROPPED,
    DUPLICATE,
    INCOMPLETE,
    LATE,
    NOT_FORWARDED,
    OPEN,
    REASON,
    RECEIVED,
    REFUSED,
    CurrentValue,
)
from otel_kfs.watch.watch_service import WatchService


def running_counts(service: WatchService) -> Iterable[CurrentValue]:
    """Yield what a service has counted since its start, by its latest snapshot."""
    snapshot, intake = service.latest(), service.intake.counts
    counts = snapshot.counts
    yield CurrentValue(RECEIVED, counts.spans)
    yield CurrentValue(DUPLICATE, counts.duplicates)
    yield CurrentValue(LATE, counts.late)
    yield CurrentValue(DROPPED, counts.too_late, ((REASON, "their trace was forgotten"),))
    yield CurrentValue(DROPPED, counts.dropped, ((REASON, "beyond the bound on one trace"),))
    for reason, count in [*intake.left_out.items()]:
        yield CurrentValue(DROPPED, count, ((REASON, excerpt(reason, 100)),))
    yield CurrentValue(REFUSED, intake.malformed, ((REASON, "malformed"),))
    yield CurrentValue(REFUSED, intake.refused, ((REASON, "busy"),))
    yield CurrentValue(REFUSED, intake.unkept, ((REASON, "not kept"),))
    if service.forwarder is not None:
        yield CurrentValue(NOT_FORWARDED, service.forwarder.counts.dropped)
    yield CurrentValue(INCOMPLETE, counts.incomplete, ((REASON, "linger"),))
    yield CurrentValue(INCOMPLETE, counts.given_up, ((REASON, "no room"),))
    yield CurrentValue(OPEN, snapshot.open_traces)
