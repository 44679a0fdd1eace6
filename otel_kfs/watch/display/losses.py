"""What a watch did not measure, keep or hand on, in words: nothing is lost without a line."""

from __future__ import annotations

from otel_kfs.watch.watch_service import WatchService


def losses(service: WatchService) -> list[str]:
    """Return a line for each kind of loss since the start; none where nothing was lost."""
    counts, intake = service.latest().counts, service.intake.counts
    told = {
        "spans that came when their trace was forgotten": counts.too_late,
        "spans beyond the bound on one trace": counts.dropped,
        "traces measured before they were complete, for lack of room (--max-spans)": counts.given_up,
        "requests that were no OTLP": intake.malformed,
        "requests that were told to come again": intake.refused,
        f"requests that were told to come again ({intake.unkept_reason})": intake.unkept,
    }
    told |= {f"spans left out for {why}": count for why, count in [*intake.left_out.items()]}
    if (forwarder := service.forwarder) is not None:
        reason = f" ({forwarder.counts.reason})" if forwarder.counts.reason else ""
        told[f"spans not handed on to {forwarder.url}{reason}"] = forwarder.counts.dropped
    return [f"{what}: {count}" for what, count in told.items() if count]
