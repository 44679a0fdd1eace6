"""Folders that may not be read: never taken for empty ones."""

import os
import tempfile
from pathlib import Path

import pytest
from traces_builder import HTTP, otlp_line, spans

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query


@pytest.fixture
def folder():
    """One with traces, and a folder in it that may not be read, for somebody who is not root."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own are below folders that only their owner may enter
        above = Path(name)
        locked = above / "locked"
        locked.mkdir()
        (above / "traces.jsonl").write_text(otlp_line(spans(HTTP)))
        (locked / "more.jsonl").write_text(otlp_line(spans(HTTP, "b")))
        above.chmod(0o755)
        locked.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield above
        os.seteuid(user)
        locked.chmod(0o755)


def test_one_that_a_query_names_is_an_error(folder):
    with pytest.raises(TraceQueryError) as raised:
        query.open_store(str(folder / "locked"))
    assert str(raised.value) == f"can't read {folder / 'locked'}: Permission denied"


def test_one_below_it_is_passed_over_with_a_warning(folder, caplog):
    assert len(list(query.spans(str(folder)))) == len(spans(HTTP))
    assert caplog.messages == [
        f"folders passed over that can't be read: 1, the first: {folder / 'locked'} (Permission denied)"
    ]


def test_one_below_it_is_an_error_where_reading_is_strict(folder):
    with pytest.raises(TraceQueryError) as raised:
        query.open_store(f"{folder}?strict=1")
    assert str(raised.value) == f"can't read {folder / 'locked'}: Permission denied"
