"""Files are written in one step, or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support import LIMIT

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
    assert str(raised.value) == f"can't write {tmp_path / 'gone' / 'out.md'}: there is no folder {tmp_path / 'gone'}"


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


def test_a_dash_is_standard_output(capsys):
    output.write("the new\n", Path("-"))
    assert (capsys.readouterr(), Path("-").exists()) == (("the new\n", ""), False)


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o751])
def test_an_old_file_keeps_its_mode(folder, mode):
    (folder / "out.md").chmod(mode)
    output.write("the new\n", folder / "out.md")
    assert (contents(folder), stat.S_IMODE((folder / "out.md").stat().st_mode)) == ({"out.md": "the new\n"}, mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_an_old_file_keeps_its_owner(folder):
    os.chown(folder / "out.md", 12345, 54321)
    output.write("the new\n", folder / "out.md")
    assert ((folder / "out.md").stat().st_uid, (folder / "out.md").stat().st_gid) == (12345, 54321)


def test_a_link_stays_and_its_target_is_written(folder):
    (folder / "link.md").symlink_to("out.md")
    output.write("the new\n", folder / "link.md")
    assert (os.readlink(folder / "link.md"), contents(folder)) == (
        "out.md",
        {"out.md": "the new\n", "link.md": "the new\n"},
    )


def test_a_link_to_a_file_that_is_not_there_yet_makes_that_file(tmp_path):
    (tmp_path / "link.md").symlink_to("later.md")
    output.write("the new\n", tmp_path / "link.md")
    assert (os.readlink(tmp_path / "link.md"), (tmp_path / "later.md").read_text()) == ("later.md", "the new\n")


def test_a_fifo_s_reader_gets_all_of_it(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(["cat", tmp_path / "fifo"], stdout=subprocess.PIPE) as reader:
        output.write("the new\n" * 20_000, tmp_path / "fifo")
        read, _ = reader.communicate(timeout=LIMIT)
    assert (read, stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)) == (b"the new\n" * 20_000, True)


def test_a_device_is_written_into_and_stays_a_device(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    output.write("the new\n", tmp_path / "null")
    assert (stat.S_ISCHR(os.stat("/dev/null").st_mode), list(tmp_path.iterdir())) == (True, [tmp_path / "null"])


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_this_process_s_own_output_is_appended_to_wherever_it_leads(tmp_path, path):
    script = f"from pathlib import Path; from otel_kfs.cli import output; output.write('new\\n', Path({path!r}))"
    with (tmp_path / "log").open("w") as log:
        log.write("old\n")
        log.flush()
        subprocess.run([sys.executable, "-c", script], stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "old\nnew\n"


def test_a_full_device_is_an_error_of_one_line():
    with pytest.raises(ConfigError, match=r"^can't write /dev/full: No space left on device$"):
        output.write("the new\n", Path("/dev/full"))
