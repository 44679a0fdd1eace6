"""How the clocks of the hosts stood to each other, in lines."""

from traces_builder import MS

from otel_kfs.analysis.clock_skew import ClockOffset, SkewBound
from otel_kfs.report.clock_lines import clock_lines


def steady(low, high):
    return ClockOffset(SkewBound(low * MS, high * MS), True, 0.0)


def test_a_clock_is_ahead_or_behind_and_what_is_rounded_off_widens_the_rest():
    assert clock_lines({("a", "b"): steady(-1190.25, -1186.85), ("c", "d"): steady(1.02, 2.04)}) == [
        "clocks: b is 1188.6 \u00b11.8 ms behind a",
        "clocks: d is 1.5 \u00b10.6 ms ahead of c",
    ]


def test_a_clock_gains_or_loses():
    drifting = ClockOffset(SkewBound(-5.0 * MS, -3.0 * MS), False, -35_000.0)
    assert clock_lines({("a", "b"): drifting}) == [
        "clocks: b is 4.0 \u00b11.0 ms behind a half-way through, and loses 35 ppm"
    ]


def test_many_pairs_of_hosts_are_a_line():
    pairs = {("sender", f"pod-{number}"): steady(number - 1.0, number + 1.0) for number in range(6)}
    pairs["a", "b"] = None
    assert clock_lines(pairs) == [
        "clocks: 6 pairs of 7 hosts are at most 6.0 ms apart; that is known within \u00b11.0 ms at best, and \u00b11.0 "
        "ms between sender and pod-0",
        "clocks: nothing bounds the skew between a and b: it takes requests and their answers between them, or between "
        "each of them and a third host",
    ]


def test_who_names_no_host_is_told_how_to():
    assert clock_lines({("node-b", "sender's host"): steady(-2.0, 1.0)})[1] == (
        "clocks: nothing says where these run, so each counts as a host of its own: sender's host; if they share a "
        "clock, host.name in OTEL_RESOURCE_ATTRIBUTES says so, or k8s.node.name of pods"
    )
