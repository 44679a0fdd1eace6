"""The file that keeps requests: whole ones, whoever was killed while writing, and what the tables read of it."""

import errno
import os
import re

import pytest
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
