"""Folders that may not be read: never taken for empty ones."""

import os

import pytest
from traces_builder import HTTP, otlp_line, spans

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import query


@pytest.fixture
def folder(tmp_path):
    """One with traces, and a folder in it that may not be read, for somebody who is not root."""
    locked = tmp_path / "locked"
    locked.mkdir()
    (tmp_path / "traces.jsonl").write_text(otlp_line(spans(HTTP)))
    (locked / "more.jsonl").write_text(otlp_line(spans(HTTP, "b")))
    for above in list(tmp_path.parents)[:2]:  # pytest's own are the user's alone
        above.chmod(0o755)
    tmp_path.chmod(0o755)
    locked.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield tmp_path
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
