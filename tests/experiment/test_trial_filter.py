"""Which images count: those of the journal's turns, with all that a cell holds of them."""

from traces_builder import EPOCH, MS, at, critical_path

from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.path_builder import Section
from otel_kfs.analysis.paths.segment import ENCODE
from otel_kfs.experiment.trial_filter import of_turns
from otel_kfs.experiment.trial_log import TrialResult


def turn(start, seconds, block=0):
    return TrialResult(block, "http", "json", "a.jpg", 1, start=at(start), seconds=seconds)


def image(start, encode=0, **more):
    """An image due at `start`, ms, that takes 10."""
    segments = (Section(ENCODE, at(start), at(start + encode)),) if encode else ()
    return critical_path(start, start + 1, start + 2, start + 10, trace_id=str(start), sections=segments, **more)


def cells(*paths):
    return measured(paths).cells()


def test_images_outside_of_every_turn_are_left_out_with_their_segments():
    found = of_turns(cells(*(image(start, start // 100) for start in (0, 100, 200, 300))), [turn(0, 0.1), turn(300, 1)])
    (left,) = found
    assert left.trace_ids == ["0", "100", "300"]
    assert [list(stamps) for stamps in left.stamps[::3]] == [[at(0), at(100), at(300)], [at(10), at(110), at(310)]]
    encode = left.segments[ENCODE]
    assert (list(encode.images), list(encode.lengths)) == ([1, 2], [1 * MS, 3 * MS])
    assert (len(left.second_pair), len(left.fourth_pair)) == (3, 3)


def test_when_all_count_the_cell_stays_as_it_is():
    all_of_them = cells(image(0), image(5))
    assert of_turns(all_of_them, [turn(0, 1)])[0] is all_of_them[0]


def test_a_turn_s_first_and_last_moment_are_its_own():
    assert of_turns(cells(image(1000)), [turn(0, 1.0)])[0].stamps[0][0] == EPOCH + 1000 * MS
    assert of_turns(cells(image(1000)), [turn(1000, 1.0)])[0].stamps[0][0] == EPOCH + 1000 * MS
    assert of_turns(cells(image(1001)), [turn(0, 1.0)]) == []


def test_a_cell_without_an_image_that_counts_is_left_out():
    found = of_turns(cells(image(0), image(500, image_size=3_300_000)), [turn(0, 0.1)])
    assert [cell.size for cell in found] == ["1.1MB"]


def test_without_turns_nothing_counts():
    assert of_turns(cells(image(0)), []) == []
