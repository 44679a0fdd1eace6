"""The log of trials: a run that is resumed, and what can't be; and which images count."""

import json

import pytest
from experiment_support import OWN, configured
from traces_builder import EPOCH, MS, at, critical_path

from otel_kfs.analysis.measurement import measured
from otel_kfs.analysis.paths.path_builder import Section
from otel_kfs.analysis.paths.segment import ENCODE
from otel_kfs.errors import ConfigError
from otel_kfs.experiment import schedule
from otel_kfs.experiment.trial_log import TrialLog, TrialResult, within_trials

TEXT = f'images = ["a.jpg"]\nrepeat = 2\n{OWN}[matrix]\nencoding = ["json", "raw"]'


def result(trial, sent=1, **more):
    """What came of a trial."""
    return TrialResult(*trial.key, sent=sent, start=0, seconds=1.0, **more)


def begun(tmp_path, done=1):
    """Return a log with some results, and all trials."""
    config = configured(TEXT)
    trials = list(schedule.trials(config))
    with TrialLog(tmp_path / "run", config) as log:
        for trial in trials[:done]:
            log.add(result(trial))
    return log, trials


def test_a_run_goes_on_with_the_trials_that_remain(tmp_path):
    log, trials = begun(tmp_path, 3)
    again = TrialLog(tmp_path / "run", configured(TEXT))
    assert (again.run_id, again.results, again.remaining(trials)) == (log.run_id, log.results, trials[3:])


def test_a_line_that_was_cut_off_is_of_a_trial_that_is_not_done(tmp_path):
    log, trials = begun(tmp_path, 2)
    log.path.write_text(log.path.read_text()[:-5])
    with TrialLog(tmp_path / "run", configured(TEXT)) as again:
        assert again.remaining(trials) == trials[1:]
        again.add(result(trials[1]))
    assert TrialLog(tmp_path / "run", configured(TEXT)).remaining(trials) == trials[2:]


def test_a_comment_in_the_file_changes_nothing(tmp_path):
    log, _ = begun(tmp_path)
    assert TrialLog(tmp_path / "run", configured(f"# again\n{TEXT}")).run_id == log.run_id


@pytest.mark.parametrize("change", ["seed = 2\n", "repeat_ = 1\n"])
def test_a_changed_file_is_refused_in_one_line(tmp_path, change):
    begun(tmp_path)
    text = TEXT.replace("repeat = 2", "repeat = 3") if "_" in change else change + TEXT
    with pytest.raises(ConfigError, match=r"^.*experiment\.toml or its images changed since the run in .*/run began: "):
        TrialLog(tmp_path / "run", configured(text))


def test_a_changed_image_is_refused_too(tmp_path):
    begun(tmp_path)
    config = configured(TEXT)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff another")
    with pytest.raises(ConfigError, match="its images changed"):
        TrialLog(tmp_path / "run", config)


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="is not empty, and not an experiment's folder: choose a new one"):
        TrialLog(folder, configured(TEXT))
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    "text", ["", "{}\n", "no json\n", "[]\n", '{"document": 1, "images": 2, "run_id": "x"}\n[1]\n']
)
def test_what_is_no_journal_is_one_line(tmp_path, text):
    log, _ = begun(tmp_path)
    log.path.write_text(text)
    with pytest.raises(ConfigError, match="is not an experiment's journal"):
        TrialLog(tmp_path / "run", configured(TEXT))


def test_the_seed_and_the_run_are_in_its_first_line(tmp_path):
    log, _ = begun(tmp_path)
    first = json.loads(log.path.read_text().splitlines()[0])
    assert (first["run_id"], first["seed"]) == (log.run_id, 1)


def test_what_failed_is_counted_by_cell_and_image(tmp_path):
    config = configured(TEXT)
    trials = list(schedule.trials(config))
    with TrialLog(tmp_path / "run", config) as log:
        log.add(result(trials[0], failed=1, failure="no"))
        log.add(result(trials[1], sent=4, unsent=2))
    assert log.failed == 1
    assert log.failures() == {trials[0].key[1:]: 1, trials[1].key[1:]: 2}


# --- which images count ---


def done(start, seconds, block=0):
    return TrialResult(block, "http", "json", "a.jpg", 1, start=at(start), seconds=seconds)


def image(start, encode=0, **more):
    """An image due at `start`, ms, that takes 10."""
    segments = (Section(ENCODE, at(start), at(start + encode)),) if encode else ()
    return critical_path(start, start + 1, start + 2, start + 10, trace_id=str(start), sections=segments, **more)


def series(*paths):
    return measured(paths).all_series()


def test_images_outside_of_every_trial_are_left_out_with_their_segments():
    found = within_trials(
        series(*(image(start, start // 100) for start in (0, 100, 200, 300))), [done(0, 0.1), done(300, 1)]
    )
    (left,) = found
    assert left.trace_ids == ["0", "100", "300"]
    assert [list(stamps) for stamps in left.stamps[::3]] == [[at(0), at(100), at(300)], [at(10), at(110), at(310)]]
    encode = left.segments[ENCODE]
    assert (list(encode.images), list(encode.values)) == ([1, 2], [1 * MS, 3 * MS])
    assert (len(left.routes), len(left.crossings)) == (3, 3)


def test_when_all_count_the_series_stays_as_it_is():
    all_of_them = series(image(0), image(5))
    assert within_trials(all_of_them, [done(0, 1)])[0] is all_of_them[0]


def test_a_trial_s_first_and_last_moment_are_its_own():
    assert within_trials(series(image(1000)), [done(0, 1.0)])[0].stamps[0][0] == EPOCH + 1000 * MS
    assert within_trials(series(image(1000)), [done(1000, 1.0)])[0].stamps[0][0] == EPOCH + 1000 * MS
    assert within_trials(series(image(1001)), [done(0, 1.0)]) == []


def test_a_series_without_an_image_that_counts_is_left_out():
    found = within_trials(series(image(0), image(500, image_size=3_300_000)), [done(0, 0.1)])
    assert [one.size for one in found] == ["1.1MB"]


def test_without_trials_nothing_counts():
    assert within_trials(series(image(0)), []) == []
