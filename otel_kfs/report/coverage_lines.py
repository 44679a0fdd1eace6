"""What was measured and what was left out, in a line; and where nothing was measured, what is there instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from otel_kfs import semconv
from otel_kfs.analysis.paths.coverage import Coverage
from otel_kfs.analysis.reading.store_contents import StoreContents
from otel_kfs.traces.printable import excerpt

_MOST_SERVICES = 8  # that are named
_MOST_REASONS = 8  # the same; each names a span
_NAME = 60  # characters of one


def coverage_line(coverage: Coverage) -> str:
    """Say in one line what was measured and what was left out, and why."""
    parts = [f"{coverage.measured} {coverage.what}{'' if coverage.measured == 1 else 's'} measured"]
    shown = dict(Counter(coverage.left_out).most_common(_MOST_REASONS))
    parts += [f"{count} left out: {excerpt(reason, _NAME + 40)}" for reason, count in sorted(shown.items())]
    if others := len(coverage.left_out) - len(shown):
        rest = sum(coverage.left_out.values()) - sum(shown.values())
        parts.append(f"{rest} left out for {_many_of(others, 'other reason')}")
    if coverage.retried:
        parts.append(f"{coverage.retried} with retries")
    if coverage.redelivered:
        parts.append(f"{coverage.redelivered} redelivered")
    if coverage.in_batches:
        parts.append(f"{coverage.in_batches} shared a request with others, of which each has all of the time")
    if coverage.roots:
        parts.append(_others_line(coverage.roots))
    parts += [_lacking_line(what, count, coverage) for what, count in sorted(coverage.lacking.items())]
    return "; ".join(parts)


def _lacking_line(what: str, count: int, coverage: Coverage) -> str:
    """Say that paths lack an attribute that the stamps file names, and what to do where all do."""
    if count < coverage.measured:
        return f"{count} without {what}"
    next_step = "correct the name in the stamps file, or add a stamp for a span that has it"
    return f"none of the stamps' spans has {what}: {next_step}"


def _others_line(roots: Mapping[str, int]) -> str:
    """Say what images began with that our senders did not send."""
    commonest = sorted(roots.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(excerpt(name, 2 * _NAME) for name, _ in commonest[:3])
    more = f" and {len(commonest) - 3} others" if len(commonest) > 3 else ""
    return f"{sum(roots.values())} without `{semconv.SEND_IMAGE}`, from {shown}{more} on"


def contents_line(contents: StoreContents, *, by_stamps: bool = False) -> str:
    """Say what there is where nothing was measured, and what to do next; `by_stamps`: with a stamps file."""
    if not contents.spans:
        return "it has no spans: see that they are exported, or look further back"
    services = [excerpt(service, _NAME) or "(without a name)" for service, _ in contents.services.most_common()]
    more = f" and {len(services) - _MOST_SERVICES} more" if len(services) > _MOST_SERVICES else ""
    roots = [
        f"`{excerpt(name, _NAME)}` ({excerpt(service, _NAME) or 'a service without a name'}) {_many_of(count, 'time')}"
        for (name, service), count in contents.roots.most_common(3)
    ]
    begin = ", ".join(roots) or "spans whose parents are missing"
    next_step = (
        "Compare the names, services, kinds and attributes that the file asks for with a span's"
        if by_stamps
        else "If one of the services is a model server, name it by --server; for any other program, say by --stamps "
        "which spans' starts and ends are the stamps"
    )
    return (
        f"it has {_many_of(contents.spans, 'span')} of {_many_of(contents.traces, 'trace')}; services: "
        f"{', '.join(services[:_MOST_SERVICES])}{more}; traces begin with {begin}. {next_step} (docs/no-images.md)"
    )


def _many_of(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
