"""Files are written in one step, or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from otel_kfs.cli import output
from otel_kfs.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    """A folder with one file in it, `out.md`."""
    (tmp_path / "out.md").write_text("the old\n")
    return tmp_path


def contents(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_without_a_file_the_text_goes_to_standard_output_as_it_is(capsys):
    output.write("no line end", None)
    assert capsys.readouterr() == ("no line end", "")


def test_a_new_file_holds_the_text(tmp_path):
    output.write("the new\n", tmp_path / "out.md")
    assert contents(tmp_path) == {"out.md": "the new\n"}


def test_a_name_without_a_folder_is_in_the_current_one(tmp_path):
    output.write("the new\n", Path("out.md"))
    assert contents(tmp_path) == {"out.md": "the new\n"}


def test_an_old_file_is_replaced(folder):
    output.write("the new\n", folder / "out.md")
    assert contents(folder) == {"out.md": "the new\n"}


def test_a_file_is_utf_8_whatever_the_locale(tmp_path):
    script = "from pathlib import Path; from otel_kfs.cli import output; output.write('5 \\u00b5s', Path('out.md'))"
    ascii_only = os.environ | {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=ascii_only, check=True)
    assert contents(tmp_path) == {"out.md": "5 \u00b5s"}


@pytest.mark.parametrize("step", ["chmod", "replace"])
def test_a_write_that_fails_leaves_the_old_file_whole_and_nothing_beside_it(folder, monkeypatch, step):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(ConfigError, match=r"^can't write .*out\.md: No space left on device$"):
        output.write("the new\n", folder / "out.md")
    assert contents(folder) == {"out.md": "the old\n"}


def test_a_write_that_is_interrupted_leaves_the_old_file_whole_and_nothing_beside_it(folder, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        output.write("the new\n", folder / "out.md")
    assert contents(folder) == {"out.md": "the old\n"}


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_rights_that_the_umask_leaves(tmp_path, umask, rights):
    before = os.umask(umask)
    try:
        output.write("the new\n", tmp_path / "out.md")
    finally:
        after = os.umask(before)
    assert (stat.S_IMODE((tmp_path / "out.md").stat().st_mode), after) == (rights, umask)


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path):
    with pytest.raises(ConfigError) as raised:
        output.write("the new\n", tmp_path / "gone" / "out.md")
    assert str(raised.value) == f"can't write {tmp_path / 'gone' / 'out.md'}: No such file or directory"


def test_a_file_in_place_of_the_folder_is_an_error_of_one_line(folder):
    with pytest.raises(ConfigError) as raised:
        output.write("the new\n", folder / "out.md" / "more.md")
    assert str(raised.value) == f"can't write {folder / 'out.md' / 'more.md'}: Not a directory"


@pytest.fixture
def _not_root():
    """Be somebody else for a moment, as root may write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_folder_without_the_right_to_write_is_an_error_of_one_line(folder, request):
    folder.chmod(0o500)
    request.getfixturevalue("_not_root")
    with pytest.raises(ConfigError) as raised:
        output.write("the new\n", folder / "new.md")
    assert str(raised.value) == f"can't write {folder / 'new.md'}: Permission denied"


def test_progress_counts_nothing_where_nobody_watches(capsys):
    with output.progress(2, "sending") as done:
        done("a")
        done("b")
    assert capsys.readouterr() == ("", "")


def test_bytes_are_written_as_they_are(tmp_path):
    output.write(b"\x89PNG\r\n", tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == b"\x89PNG\r\n"
