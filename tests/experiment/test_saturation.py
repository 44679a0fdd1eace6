"""Latency against load: the rate that was achieved, and where the knee is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traces_builder import EPOCH, MS, critical_path

from otel_kfs.analysis.measurement import measured
from otel_kfs.experiment.config.experiment_config import Arrivals, Cell
from otel_kfs.experiment.ranking_tables import ranking_answer
from otel_kfs.experiment.saturation import Saturation, knee, measure_saturation
from otel_kfs.experiment.schedule import due_times
from otel_kfs.experiment.trial_log import TrialResult

SECOND = 1_000_000_000


def served(rate, capacity, *, pattern="constant", duration=20.0, start=0.0):
    """Images that are due at a rate, and answered one after another by a server that can do `capacity` a second."""
    paths, free = [], 0.0
    for number, offset in enumerate(due_times(Arrivals(pattern, duration=duration), rate, "seed")):
        free = max(free, start + offset) + 1 / capacity
        first, last = round((start + offset) * 1000), round(free * 1000)
        paths.append(critical_path(first, first, first, last, trace_id=f"{start}{number}", cell="json"))
    return paths


def stage(start=0.0, duration=20.0, **more):
    return TrialResult(0, "http", "json", "a.jpg", 0, start=EPOCH + round(start * SECOND), seconds=duration, **more)


def saturation(rate, paths, *stages):
    cell = Cell(rate=rate, label="json", base_label="json")
    (series,) = measured(paths).all_series()
    return measure_saturation(cell, series, stages or [stage()])


def test_a_server_that_keeps_up_achieves_what_is_due():
    found = saturation(5, served(5, 50))
    assert (found.offered, found.achieved, found.sustained) == (5.0, 5.0, True)


def test_a_server_that_does_not_achieves_what_it_can():
    found = saturation(10, served(10, 4))
    assert (found.offered, found.achieved, found.sustained) == (10.0, 4.0, False)


@settings(max_examples=40)
@given(st.sampled_from([2.0, 5.0, 11.0]), st.floats(0.3, 3), st.sampled_from(["constant", "poisson"]))
def test_a_server_keeps_up_if_it_can_do_more_than_is_due(rate, share, pattern):
    found = saturation(rate, served(rate, rate * share, pattern=pattern, duration=120), stage(duration=120))
    if share > 1.3:
        assert found.sustained
    if share < 0.85:
        assert not found.sustained


def test_one_late_answer_at_the_end_of_a_short_stage_is_no_backlog():
    paths = served(1, 50, duration=10)
    paths[-1] = critical_path(9000, 9000, 9000, 12_000, trace_id="late", cell="json")
    found = saturation(1, paths, stage(duration=10.0))
    assert (found.achieved < 0.95 * found.offered, found.backlog, found.sustained) == (True, 1, True)


def test_the_backlog_is_what_is_unanswered_when_the_last_image_is_due():
    # 40 images, the last one due at 1.95 s; 10 a second are answered, 19 by then.
    assert saturation(20, served(20, 10, duration=2), stage(duration=2.0)).backlog == 21


def test_the_backlog_counts_from_the_last_image_that_was_due_whether_or_not_it_was_sent():
    # 100 are due in 10 s, and the server does 4 a second; the last 36 are given up.
    paths = served(10, 4, duration=10)[:64]
    last = EPOCH + round(9.9 * SECOND)
    found = saturation(10, paths, stage(duration=10.0, unsent=36, last_due=last))
    answered = sum(path.stamps[3] <= last for path in paths)
    assert (answered, found.backlog) == (39, 100 - 39)


def test_the_time_between_two_stages_is_none_of_theirs():
    paths = [*served(5, 50), *served(5, 50, start=500.0)]
    found = saturation(5, paths, stage(), stage(500.0))
    assert (found.offered, found.achieved) == (5.0, 5.0)


@pytest.mark.parametrize("more", [{"failed": 1}, {"unsent": 1}])
def test_where_images_failed_or_were_given_up_the_servers_do_not_keep_up(more):
    assert not saturation(5, served(5, 50), stage(**more)).sustained


def test_without_images_nothing_is_known_and_nothing_kept_up():
    found = measure_saturation(Cell(rate=5), None, [stage()])
    assert (found.offered, found.achieved, found.sustained) == (None, None, False)


def of(rate, offered, achieved, **more):
    return Saturation(Cell(rate=rate), None, offered, achieved, **({"backlog": 9, "failed": 0, "unsent": 0} | more))


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        ([of(1, 1, 1), of(2, 2, 1.95)], "no knee up to 2/s: the servers keep up with every rate"),
        (
            [of(4, 4, 3), of(1, 1, 1), of(2, 2, 2)],
            "the knee lies between 2/s and 4/s: 75% of the rate is achieved, and 9 images pile up",
        ),
        ([of(1, 1, 0.5), of(2, 2, 2)], "the knee lies below 1/s: 50% of the rate is achieved, and 9 images pile up"),
        ([of(1, 1, 1), of(2, 2, 2, unsent=3)], "the knee lies between 1/s and 2/s: 3 images were never sent"),
        ([of(1, 1, 1), of(2, 2, 2, failed=2)], "the knee lies between 1/s and 2/s: 2 images failed"),
        ([of(1, None, None)], "the knee lies below 1/s: too few images were answered"),
    ],
)
def test_where_the_knee_is(rates, sentence):
    assert knee(rates) == sentence


def test_under_a_load_the_answer_is_where_the_knees_are():
    rates = [saturation(rate, served(rate, 6), stage()) for rate in (5, 20)]
    assert ranking_answer([], [rates]) == (
        "At 1.1MB, HTTP, json: the knee lies between 5/s and 20/s: 30% of the rate is achieved, and 281 images pile up."
    )


def test_latency_grows_with_the_backlog_because_it_counts_from_when_an_image_was_due():
    (series,) = measured(served(10, 5, duration=10)).all_series()
    totals = series.totals()
    assert totals == sorted(totals)
    assert (totals[0], totals[-1]) == (200 * MS, 10_100 * MS)
