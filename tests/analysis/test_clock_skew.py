"""Bounds on the difference of two hosts' clocks: the truth lies in them, whatever the delays and the drift."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_kfs.analysis.clock_skew import ClockOffset, Clocks, SkewBound

MS = 1_000_000
SECOND = 1_000_000_000
EPOCH = 1_600_000_000 * SECOND

delays = st.one_of(st.integers(1000, MS), st.integers(MS, 2 * SECOND))


class Host:
    """A clock that shows `offset` more than the true time at the run's start, and `drift` ns more each second."""

    def __init__(self, name, offset=0, drift=0):
        self.name, self.offset, self.drift = name, offset, drift

    def shows(self, true):
        return EPOCH + true + self.offset + self.drift * true // SECOND


@st.composite
def hosts(draw, name):
    # Up to 5 s off, and up to 5 s more after the ten minutes that a run lasts.
    return Host(name, draw(st.integers(-5 * SECOND, 5 * SECOND)), draw(st.integers(-5 * SECOND, 5 * SECOND)) // 600)


@st.composite
def requests(draw, most=12):
    """Requests one after another: when each is sent, arrives, is answered, and when it is back, ns of true time."""
    found, sent = [], 0
    for _ in range(draw(st.integers(2, most))):
        sent += draw(st.integers(MS, 50 * SECOND))
        found.append((sent, *(sent := sent + draw(delays) for _ in range(3))))
    return found


@st.composite
def overlapping(draw, most=12):
    """Requests that are under way at the same time."""
    found = []
    for _ in range(draw(st.integers(1, most))):
        sent = draw(st.integers(0, SECOND))
        found.append((sent, *(sent := sent + draw(delays) for _ in range(3))))
    return found


def ask(clocks, client, server, request):
    """One request and its answer, each host's events by its own clock."""
    sent, arrived, answered, back = request
    clocks.before(client.name, client.shows(sent), server.name, server.shows(arrived))
    clocks.before(server.name, server.shows(answered), client.name, client.shows(back))


def assert_true(clocks, host, other, moments):
    shown = [host.shows(true) for true in moments]
    for bound, true, at in zip(clocks.bounds(host.name, other.name, shown), moments, shown, strict=True):
        truth = other.shows(true) - at
        # A few floats of up to 10 s are added, and the simulated clocks show whole nanoseconds.
        assert bound is None or bound.low - 10 <= truth <= bound.high + 10


@given(hosts("client"), hosts("server"), requests())
@settings(max_examples=100)
def test_the_truth_lies_in_the_bound_for_any_offset_drift_and_delay(client, server, run):
    clocks = Clocks()
    for request in run:
        ask(clocks, client, server, request)
    moments = [moment for request in run for moment in request]
    assert_true(clocks, server, client, moments)
    assert_true(clocks, client, server, moments)
    assert None not in clocks.bounds("client", "server", [client.shows(moment) for moment in moments])


@pytest.mark.parametrize("step", [-SECOND, 300 * MS, 5 * SECOND])
def test_a_step_that_only_an_impossible_drift_would_explain_is_no_drift(step):
    clocks, client = Clocks(), Host("client")
    for number in range(2):
        # NTP sets the server's clock before the second request.
        sent = number * SECOND
        ask(clocks, client, Host("server", step * number), (sent, sent + MS, sent + 2 * MS, sent + 3 * MS))
    assert clocks.offset("client", "server").bound is None
    assert clocks.bounds("client", "server", [client.shows(0), client.shows(SECOND)]) == [None, None]


def test_requests_of_one_moment_leave_open_only_the_rates_at_which_clocks_can_run():
    clocks, client, server = Clocks(), Host("client"), Host("server", SECOND)
    for sent in (0, 10):
        ask(clocks, client, server, (sent, sent + MS, sent + 2 * MS, sent + 3 * MS))
    hour = client.shows(3600 * SECOND)
    (bound,) = clocks.bounds("client", "server", [hour])
    # 1 ms each way and 1 ms in between fit a clock that loses 2 s a second; and nothing says how much it may gain.
    assert bound == SkewBound(pytest.approx(-71 * SECOND, abs=3 * MS), pytest.approx(4.6 * SECOND, abs=3 * MS))


@given(st.integers(-5 * SECOND, 5 * SECOND), st.integers(-MS, MS), overlapping())
@settings(max_examples=50)
def test_where_requests_overlap_a_clock_s_rate_is_limited_by_what_clocks_can_do(offset, drift, run):
    clocks, client, server = Clocks(), Host("client"), Host("server", offset, drift)
    for request in run:
        ask(clocks, client, server, request)
    assert_true(clocks, server, client, [moment for request in run for moment in request])


@given(hosts("a"), hosts("b"), hosts("c"), requests(), requests())
@settings(max_examples=50)
def test_a_pair_of_hosts_that_never_met_is_bounded_by_way_of_a_third(a, b, c, one, two):
    clocks = Clocks()
    for request in one:
        ask(clocks, a, b, request)
    for request in two:
        ask(clocks, b, c, request)
    assert_true(clocks, a, c, [moment for request in (*one, *two) for moment in request])


@given(hosts("sender"), hosts("bridge"), hosts("server"), requests(), requests(), requests())
@settings(max_examples=50)
def test_hops_that_go_one_way_lean_on_the_requests_of_others(sender, bridge, server, one, two, records):
    clocks = Clocks()
    for request in one:
        ask(clocks, sender, server, request)
    for request in two:
        ask(clocks, bridge, server, request)
    for sent, taken, *_ in records:
        clocks.before("sender", sender.shows(sent), "bridge", bridge.shows(taken))
    moments = [moment for request in (*one, *two, *records) for moment in request]
    assert_true(clocks, sender, bridge, moments)
    assert_true(clocks, bridge, sender, moments)


def test_many_hosts_that_all_know_one_another_are_bounded_together():
    # There are more than 10^13 chains of hosts from one sender to one pod.
    senders = [Host(f"sender{number}", number * SECOND, number * 1000) for number in range(10)]
    pods = [Host(f"pod{number}", -number * SECOND, -number * 1000) for number in range(10)]
    clocks, moments = Clocks(), range(0, 100 * SECOND, SECOND)
    for number, moment in enumerate(moments):
        sender, pod = senders[number // 10], pods[number % 10]
        ask(
            clocks,
            sender,
            pod,
            (moment, moment + (1 + number % 7) * MS, moment + 9 * MS, moment + (10 + number % 3) * MS),
        )
    for sender in senders:
        for pod in pods:
            assert_true(clocks, sender, pod, moments)
            assert None not in clocks.bounds(sender.name, pod.name, [sender.shows(moment) for moment in moments])


def test_of_two_chains_of_hosts_the_tighter_one_bounds():
    clocks = Clocks()
    ask(clocks, Host("a"), Host("c"), (0, 500 * MS, 600 * MS, 1100 * MS))
    ask(clocks, Host("a"), Host("b"), (0, MS, 2 * MS, 3 * MS))
    ask(clocks, Host("b"), Host("c"), (0, MS, 2 * MS, 3 * MS))
    (bound,) = clocks.bounds("a", "c", [EPOCH])
    assert bound == SkewBound(pytest.approx(-2 * MS, abs=MS / 100), pytest.approx(2 * MS, abs=MS / 100))


def test_clocks_that_contradict_one_another_bound_no_others_by_way_of_them():
    clocks = Clocks()
    quick = 0, MS, 2 * MS, 3 * MS
    ask(clocks, Host("a"), Host("b"), quick)
    ask(clocks, Host("b"), Host("c"), quick)
    ask(clocks, Host("b"), Host("d"), quick)
    ask(clocks, Host("c"), Host("d", offset=SECOND), quick)
    found = [clocks.bounds(*pair, [EPOCH])[0] for pair in (("a", "b"), ("b", "c"), ("a", "d"))]
    assert found == [SkewBound(pytest.approx(-MS, abs=MS / 100), pytest.approx(MS, abs=MS / 100)), None, None]


def test_what_goes_one_way_alone_bounds_from_its_first_hop_to_its_last():
    clocks = Clocks()
    for start in range(0, 1000 * SECOND, 10 * SECOND):
        ask(clocks, Host("sender"), Host("server"), (start, start + MS, start + 2 * MS, start + 3 * MS))
        ask(clocks, Host("bridge"), Host("server"), (start, start + 100 * MS, start + 101 * MS, start + 102 * MS))
    records = [number * SECOND + 7 for number in range(501, 507)]
    for sent in records:
        clocks.before("sender", EPOCH + sent, "bridge", EPOCH + sent + MS)
    highs = [bound.high for bound in clocks.bounds("sender", "bridge", [EPOCH + sent for sent in records])]
    assert highs == [pytest.approx(MS, abs=MS / 100)] * 6


@given(hosts("client"), hosts("server"), requests(most=6), st.integers(200, 400))
@settings(max_examples=20)
def test_many_moments_are_bounded_as_truly_as_few(client, server, run, count):
    clocks = Clocks()
    for request in run:
        ask(clocks, client, server, request)
    ends = sorted(moment for request in run for moment in request)
    assert_true(clocks, server, client, [ends[0] + (ends[-1] - ends[0]) * step // count for step in range(count)])


@given(hosts("client"), hosts("server"), requests())
def test_what_two_processes_saw_is_what_one_would_have_seen(client, server, run):
    whole, one, two = Clocks(), Clocks(), Clocks()
    for number, request in enumerate(run):
        ask(whole, client, server, request)
        ask((one, two)[number % 2], client, server, request)
    one.merge(two)
    assert one == whole


def test_one_request_bounds_the_difference_by_its_two_delays():
    clocks = Clocks()
    ask(clocks, Host("client"), Host("server", offset=5 * SECOND), (0, 10 * MS, 30 * MS, 31 * MS))
    # At the arrival: at most 10 ms less than it seems, by that way; by the answer's, 1 ms and the clocks' rate more.
    (bound,) = clocks.bounds("client", "server", [EPOCH])
    assert bound == SkewBound(pytest.approx(4999 * MS - 0.031 * MS), 5010 * MS + 1)


def test_steady_clocks_have_one_difference():
    clocks = Clocks()
    for start in range(0, 60 * SECOND, SECOND):
        ask(
            clocks,
            Host("client"),
            Host("server", offset=-2 * SECOND),
            (start, start + MS, start + 2 * MS, start + 3 * MS),
        )
    offset = clocks.offset("client", "server")
    assert (offset.steady, offset.drift) == (True, 0.0)
    assert (offset.bound, offset.half_width) == (
        SkewBound(pytest.approx(-2 * SECOND - MS), pytest.approx(-2 * SECOND + MS)),
        pytest.approx(MS),
    )


def test_clocks_that_no_one_difference_fits_are_said_to_drift():
    clocks = Clocks()
    for start in range(0, 60 * SECOND, SECOND):
        ask(
            clocks,
            Host("client"),
            Host("server", drift=1000_000),
            (start, start + MS, start + 2 * MS, start + 3 * MS),
        )
    offset = clocks.offset("client", "server")
    assert (offset.steady, offset.drift) == (False, pytest.approx(1000_000, rel=0.05))


def test_a_clock_that_was_set_in_mid_run_has_no_bound():
    clocks = Clocks()
    for start in range(0, 60 * SECOND, SECOND):
        server = Host("server", offset=0 if 20 * SECOND < start < 40 * SECOND else SECOND)
        ask(clocks, Host("client"), server, (start, start + MS, start + 2 * MS, start + 3 * MS))
    offset = clocks.offset("client", "server")
    assert (offset.bound, offset.steady) == (None, False)
    assert clocks.bounds("client", "server", [EPOCH + 30 * SECOND]) == [None]


def test_hosts_that_were_never_seen_together_have_no_bound():
    clocks = Clocks()
    assert (clocks.offset("a", "b"), clocks.bounds("a", "b", [EPOCH])) == (None, [None])


def test_a_hop_that_goes_one_way_alone_has_no_bound():
    clocks = Clocks()
    clocks.before("a", EPOCH, "b", EPOCH + MS)
    assert (clocks.offset("a", "b"), clocks.bounds("a", "b", [EPOCH])) == (None, [None])


def test_what_is_kept_does_not_grow_with_the_requests():
    clocks = Clocks()
    for start in range(20_000):
        ask(clocks, Host("a"), Host("b"), (start * MS, start * MS + 5, start * MS + 9, start * MS + 11 + start % 7))
    assert max(map(len, clocks._before.values())) < 1024
    assert isinstance(clocks.offset("a", "b"), ClockOffset)
