"""The tree of errors: as it is drawn, and what its members carry."""

import re

import pytest

from otel_kfs import errors

CLASSES = {name: value for name, value in vars(errors).items() if isinstance(value, type)}


def test_the_drawing_at_the_top_shows_every_error_under_its_parent():
    drawn: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"(\s+[|+\s-]*)([A-Z]\w+)", line):
            depth, name = len(found[1]), found[2]
            path = [(d, n) for d, n in path if d < depth]
            drawn[name] = path[-1][1] if path else "Exception"
            path.append((depth, name))
    assert drawn == {name: cls.__bases__[0].__name__ for name, cls in CLASSES.items()}


@pytest.mark.parametrize("name", CLASSES)
def test_catching_the_root_catches_every_error(name):
    assert issubclass(CLASSES[name], errors.OtelKfsError)


def test_a_missing_library_is_answered_with_the_command_that_brings_it():
    error = errors.MissingExtra("confluent-kafka", "kafka")
    assert str(error) == "confluent-kafka is not installed; in a clone of otel-kfs, run: pip install '.[kafka]'"
    assert error.extra == "kafka"


def test_a_missing_library_is_an_import_error_too():
    with pytest.raises(ImportError):
        raise errors.MissingExtra("confluent-kafka", "kafka")


def test_a_send_error_keeps_the_server_s_status():
    assert errors.SendError("refused", 503).status == 503


def test_a_send_error_without_an_answer_has_no_status():
    assert errors.SendError("nobody there").status is None


def test_too_large_is_a_send_error():
    assert errors.PayloadTooLargeError("13.9 MB", 413).status == 413
