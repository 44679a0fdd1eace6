"""The file that keeps requests: whole ones, whoever was killed while writing, and what the tables read of it."""

import errno
import os
import re
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from traces_builder import HTTP, KAFKA, spans, spans_in
from watch_support import as_protobuf

from otel_kfs.errors import ConfigError
from otel_kfs.traces.query import open_store
from otel_kfs.watch.receiver.spans_file import SpansFile

REQUESTS = [as_protobuf(spans(drawing, trace)) for drawing, trace in ((HTTP, "a"), (KAFKA, "b"))]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kept" / "traces.otlp"


def kept(path, *requests):
    file = SpansFile(path)
    for request in requests:
        file(request, 1)
    file.close()


def traces_in(path):
    return {bytes.fromhex(span.trace_id).strip(b"\0").decode() for span in spans_in(open_store(str(path)).parts())}


def test_the_tables_read_what_was_kept_before_and_after_a_restart(path):
    for request in REQUESTS:
        kept(path, request)
    assert traces_in(path) == {"a", "b"}


@pytest.mark.parametrize("left", [1, 3, 4, 5, 100])
def test_what_a_killed_process_left_incomplete_is_passed_over_and_then_overwritten(path, left):
    kept(path, REQUESTS[0])
    whole = path.read_bytes()
    torn = len(REQUESTS[1]).to_bytes(4, "big") + REQUESTS[1]
    path.write_bytes(whole + torn[:left])
    assert traces_in(path) == {"a"}
    kept(path, REQUESTS[1])
    assert path.read_bytes() == whole + torn


def test_a_file_that_holds_something_else_is_not_touched(path):
    path.parent.mkdir()
    path.write_text('{"resourceSpans": []}\n')
    with pytest.raises(ConfigError, match="holds something else than such requests: name another file"):
        SpansFile(path)
    assert path.read_text() == '{"resourceSpans": []}\n'


def test_a_second_process_does_not_write_between_the_first_one_s_requests(path):
    file = SpansFile(path)
    with pytest.raises(ConfigError, match=r"another process writes .*: give each its own file"):
        SpansFile(path)
    file.close()


def test_of_a_request_for_which_there_is_no_room_nothing_stays(path, monkeypatch):
    file = SpansFile(path)
    file(REQUESTS[0], 1)
    whole = path.read_bytes()
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, content, at: write(descriptor, content[:10], at))
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOSPC))):
        file(REQUESTS[1], 1)
    monkeypatch.undo()
    assert path.read_bytes() == whole
    file(REQUESTS[1], 1)
    file.close()
    assert traces_in(path) == {"a", "b"}


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match=re.escape(f"can't write {tmp_path}: Is a directory")):
        SpansFile(tmp_path)


# --- several files ---

ONE = len(REQUESTS[0]) + 4


def traces(number):
    return as_protobuf(spans(HTTP, str(number)))


def test_a_new_file_is_begun_before_one_is_too_large_and_so_many_older_ones_stay(path):
    file = SpansFile(path, largest=2 * ONE, kept=2)
    for number in range(7):
        file(traces(number), 1)
    file.close()
    assert {one.name: traces_in(one) for one in path.parent.iterdir()} == {
        "traces.otlp": {"6"},
        "traces.otlp.1": {"4", "5"},
        "traces.otlp.2": {"2", "3"},
    }
    assert traces_in(f"{path}*") == set("23456")


def test_a_request_that_is_larger_than_a_file_may_be_has_one_of_its_own(path):
    file = SpansFile(path, largest=1, kept=2)
    for request in REQUESTS:
        file(request, 1)
    file.close()
    assert [traces_in(path), traces_in(f"{path}.1")] == [{"b"}, {"a"}]


def test_a_restart_goes_on_with_the_file_and_its_size(path):
    for number in range(3):
        file = SpansFile(path, largest=2 * ONE, kept=1)
        file(traces(number), 1)
        file.close()
    assert [traces_in(path), traces_in(f"{path}.1")] == [{"2"}, {"0", "1"}]


def test_the_new_file_too_has_one_writer(path):
    file = SpansFile(path, largest=1, kept=1)
    for request in REQUESTS:
        file(request, 1)
    with pytest.raises(ConfigError, match="another process writes"):
        SpansFile(path)
    file.close()


@settings(max_examples=30)
@example(failing={4, 6}, kept=2, sizes=[1] * 4)  # the last step fails, and then one of the next time
@given(failing=st.sets(st.integers(0, 40)), kept=st.integers(1, 3), sizes=st.lists(st.integers(1, 3), max_size=12))
def test_whatever_renaming_fails_what_was_acknowledged_is_in_the_files_and_in_its_order(failing, kept, sizes):
    """A request that can't be kept is refused, and costs no older file that others would not have cost."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "traces"
        calls = count()
        replace = os.replace

        def failing_replace(*names):
            if next(calls) in failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            replace(*names)

        patch.setattr(os, "replace", failing_replace)
        file = SpansFile(path, largest=20, kept=kept)
        acknowledged = []
        for number, size in enumerate(sizes):
            content = bytes([number]) * 8 * size
            with suppress(OSError):
                file(content, 1)
                acknowledged.append(content)
        file.close()
        written = [Path(f"{path}.{number}") for number in range(kept, 0, -1)]
        found = b"".join(one.read_bytes() for one in (*written, path) if one.exists())
        whole = b"".join(len(content).to_bytes(4, "big") + content for content in acknowledged)
        assert whole.endswith(found)
        assert len(found) >= min(len(whole), 12 * kept)
