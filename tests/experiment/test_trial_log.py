"""The journal: a run that is taken up again, and what can't be."""

import json

import pytest
from experiment_support import OWN, plan

from otel_kfs.errors import ConfigError
from otel_kfs.experiment import schedule
from otel_kfs.experiment.trial_log import TrialLog, done

WHEN = {"start": 0, "seconds": 1.0}
TEXT = f'images = ["a.jpg"]\nrepeat = 2\n{OWN}[matrix]\nencoding = ["json", "raw"]'


def begun(tmp_path, turns=1):
    """A journal with some turns, and what is left."""
    chosen = plan(TEXT)
    all_turns = list(schedule.turns(chosen))
    with TrialLog(tmp_path / "run", chosen) as journal:
        for turn in all_turns[:turns]:
            journal.add(done(turn, 1, **WHEN))
    return journal, all_turns


def test_a_run_goes_on_with_the_turns_that_are_left(tmp_path):
    journal, turns = begun(tmp_path, 3)
    again = TrialLog(tmp_path / "run", plan(TEXT))
    assert (again.run_id, again.turns, again.left(turns)) == (journal.run_id, journal.turns, turns[3:])


def test_a_line_that_was_cut_off_is_of_a_turn_that_is_not_done(tmp_path):
    journal, turns = begun(tmp_path, 2)
    journal.path.write_text(journal.path.read_text()[:-5])
    with TrialLog(tmp_path / "run", plan(TEXT)) as again:
        assert again.left(turns) == turns[1:]
        again.add(done(turns[1], 1, **WHEN))
    assert TrialLog(tmp_path / "run", plan(TEXT)).left(turns) == turns[2:]


def test_a_comment_in_the_file_changes_nothing(tmp_path):
    journal, _ = begun(tmp_path)
    assert TrialLog(tmp_path / "run", plan(f"# again\n{TEXT}")).run_id == journal.run_id


@pytest.mark.parametrize("change", ["seed = 2\n", "repeat_ = 1\n"])
def test_a_changed_file_is_refused_in_one_line(tmp_path, change):
    begun(tmp_path)
    text = TEXT.replace("repeat = 2", "repeat = 3") if "_" in change else change + TEXT
    with pytest.raises(ConfigError, match=r"^.*experiment\.toml or its images changed since the run in .*/run began: "):
        TrialLog(tmp_path / "run", plan(text))


def test_a_changed_image_is_refused_too(tmp_path):
    begun(tmp_path)
    chosen = plan(TEXT)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff another")
    with pytest.raises(ConfigError, match="its images changed"):
        TrialLog(tmp_path / "run", chosen)


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="is not empty, and no experiment's: choose a new folder"):
        TrialLog(folder, plan(TEXT))
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    "text", ["", "{}\n", "no json\n", "[]\n", '{"document": 1, "images": 2, "run_id": "x"}\n[1]\n']
)
def test_what_is_no_journal_is_one_line(tmp_path, text):
    journal, _ = begun(tmp_path)
    journal.path.write_text(text)
    with pytest.raises(ConfigError, match="is no journal of an experiment"):
        TrialLog(tmp_path / "run", plan(TEXT))


def test_the_seed_and_the_run_are_in_its_first_line(tmp_path):
    journal, _ = begun(tmp_path)
    first = json.loads(journal.path.read_text().splitlines()[0])
    assert (first["run_id"], first["seed"]) == (journal.run_id, 1)


def test_what_failed_is_counted_by_cell_and_image(tmp_path):
    chosen = plan(TEXT)
    turns = list(schedule.turns(chosen))
    with TrialLog(tmp_path / "run", chosen) as journal:
        journal.add(done(turns[0], 1, **WHEN, failed=1, failure="no"))
        journal.add(done(turns[1], 4, **WHEN, unsent=2))
    assert journal.failed == 1
    assert journal.failures() == {turns[0].key[1:]: 1, turns[1].key[1:]: 2}
