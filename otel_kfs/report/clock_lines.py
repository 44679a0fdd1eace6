"""How the clocks of the hosts stood to each other, in lines and as records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from otel_kfs.analysis.clock_skew import ClockOffset
from otel_kfs.report.records.segment_records import BOUNDED, UNBOUNDED
from otel_kfs.report.tables.table_notes import milliseconds_off
from otel_kfs.traces.host_identity import is_unnamed, name_before

_CONTRADICTORY = "contradictory"
_FEW = 4  # pairs of hosts, and hosts, that are named one by one


def clock_lines(offsets: Mapping[tuple[str, str], ClockOffset | None]) -> list[str]:
    """Say how the clocks of the hosts stood to each other: a line for each pair, or one for all if they are many.

    And which processes do not say on which host they are.
    """
    of_kind: dict[str, list[tuple[str, str]]] = {}
    for pair, offset in offsets.items():
        kind = UNBOUNDED if offset is None else _CONTRADICTORY if offset.bound is None else BOUNDED
        of_kind.setdefault(kind, []).append(pair)
    lines = []
    for kind, pairs in of_kind.items():
        if len(pairs) > _FEW:
            lines.append(f"clocks: {_many(kind, pairs, offsets)}")
        else:
            lines += [f"clocks: {_stood(*pair, offsets[pair])}" for pair in pairs]
    hosts = sorted({host for pair in offsets for host in pair})
    for name in dict.fromkeys(filter(None, map(name_before, hosts))):
        several = [host for host in hosts if name_before(host) == name]
        lines.append(
            f"clocks: what says that it runs on {name} can't have one clock, so each service counts as a host: "
            f"{_listed_hosts(several)}; other names for them in host.name, or k8s.node.name of pods, would tell"
        )
    if unnamed := sorted(filter(is_unnamed, hosts)):
        lines.append(
            "clocks: nothing says where these run, so each counts as a host of its own: "
            f"{_listed_hosts(unnamed)}; if they share "
            "a clock, host.name in OTEL_RESOURCE_ATTRIBUTES says so, or k8s.node.name of pods"
        )
    return lines


def clock_records(offsets: Mapping[tuple[str, str], ClockOffset | None]) -> list[dict[str, Any]]:
    """Return the same as records: how far the second host's clock is ahead in the middle of the time."""
    records = []
    for (one, other), offset in offsets.items():
        bound = offset.bound if offset else None
        records.append(
            {
                "hosts": [one, other],
                "ahead_low_ns": None if bound is None else math.floor(bound.low),
                "ahead_high_ns": None if bound is None else math.ceil(bound.high),
                "drift_ppm": None if bound is None or offset is None else round(offset.drift / 1000, 3),
            }
        )
    return records


def _stood(one: str, other: str, offset: ClockOffset | None) -> str:
    if offset is None:
        return (
            f"nothing bounds the skew between {one} and {other}: it takes requests and their answers between them, or "
            "between each of them and a third host"
        )
    if offset.bound is None:
        return f"no constant drift fits {one} and {other}: a clock was set meanwhile, or events are out of order"
    low, high = offset.bound
    if low + high < 0:
        stood = f"{other} is {_enclosed(-high, -low)} ms behind {one}"
    else:
        stood = f"{other} is {_enclosed(low, high)} ms ahead of {one}"
    return stood if offset.steady else f"{stood} half-way through, and {_drift(offset.drift)}"


def _listed_hosts(hosts: Sequence[str]) -> str:
    more = f" and {len(hosts) - _FEW} more" if len(hosts) > _FEW else ""
    return ", ".join(host or "a process without a name" for host in hosts[:_FEW]) + more


def _enclosed(low: float, high: float) -> str:
    """Write the middle of two bounds, ns, in milliseconds; what is rounded off it widens what stands behind it."""
    middle = round((low + high) / 2e5)
    half = math.ceil(max(high - middle * 1e5, middle * 1e5 - low) / 1e5)
    return f"{middle / 10:.1f} \u00b1{half / 10:.1f}"


def _drift(drift: float) -> str:
    """Write how a clock runs against another, ns a second."""
    return f"{'gains' if drift >= 0 else 'loses'} {abs(drift) / 1000:.0f} ppm"


def _many(kind: str, pairs: Sequence[tuple[str, str]], offsets: Mapping[tuple[str, str], ClockOffset | None]) -> str:
    """Say in one line how the clocks of many pairs of hosts stood to each other."""
    of_all = f"{len(pairs)} pairs of {len({host for pair in pairs for host in pair})} hosts"
    if kind == UNBOUNDED:
        return f"nothing bounds the skew of {of_all}, such as {pairs[0][0]} and {pairs[0][1]}"
    if kind == _CONTRADICTORY:
        return f"no constant drift fits {of_all}, such as {pairs[0][0]} and {pairs[0][1]}: clocks were set meanwhile"
    found = {pair: offset for pair in pairs if (offset := offsets[pair]) is not None}
    widest = max(found, key=lambda pair: found[pair].half_width)
    narrowest = min(offset.half_width for offset in found.values())
    apart = max(abs(bound) for offset in found.values() for bound in offset.bound or ())
    return (
        f"{of_all} are at most {math.ceil(apart / 1e5) / 10:.1f} ms apart; that is known within "
        f"{milliseconds_off(narrowest)} at best, and {milliseconds_off(found[widest].half_width)} between {widest[0]} "
        f"and {widest[1]}"
    )
