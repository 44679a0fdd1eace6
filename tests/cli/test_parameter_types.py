"""Durations on the command line, in trace queries and in experiments: one way of writing them, understood by all."""

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_kfs import cli
from otel_kfs.cli.parameter_types import Duration
from otel_kfs.errors import TraceQueryError
from otel_kfs.experiment.config.validation import seconds
from otel_kfs.traces.query_url import DURATIONS, parse_seconds
from otel_kfs.traces.store import duration

WRITTEN = {
    "30": 30.0,
    "0.5": 0.5,
    ".5": 0.5,
    "1e1": 10.0,
    "500ms": 0.5,
    "30s": 30.0,
    "1.5m": 90.0,
    "5m": 300.0,
    "1h": 3600.0,
    "7d": 604_800.0,
    " 5M ": 300.0,
}
NONE = ["", "s", "-1", "5 parsecs", "1h30", "5mm", "nan", "inf", "0x10", "1_0", "9" * 400, "1e999d", "٣s", "5m\n;"]


@pytest.mark.parametrize(("text", "found"), WRITTEN.items())
def test_a_duration_is_a_number_of_seconds_or_has_a_unit(text, found):
    assert (Duration().convert(text, None, None), parse_seconds(text)) == (found, found)
    assert Duration(keep_text=True).convert(text, None, None) == text
    assert duration("wait", text).total_seconds() == found
    assert seconds(0.001, 1_000_000)(text) == found


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_duration_is_told_what_one_looks_like_wherever_it_stands(text):
    with pytest.raises(click.BadParameter) as raised:
        Duration().convert(text, None, None)
    assert raised.value.message == f"{text!r} is not {DURATIONS}"
    with pytest.raises(TraceQueryError, match=r"^wait=.* is not a duration such as 30, 500ms, 30s, 5m, 1h or 7d$"):
        duration("wait", text)
    with pytest.raises(ValueError, match='give seconds, from 1 to 9, or text such as "500ms", "30s" or "5m"'):
        seconds(1, 9)(text)


@pytest.mark.parametrize("value", [True, None, 0, 10, float("nan"), ["5s"], "10s"])
def test_what_a_file_gives_must_lie_within_the_limits(value):
    with pytest.raises(ValueError, match="give seconds, from 1 to 9"):
        seconds(1, 9)(value)


@pytest.mark.parametrize(("text", "why"), [("0s", "it must be longer than 0"), ("36501d", "longer than 36500 days")])
def test_a_duration_that_can_not_be_waited_for_is_refused(text, why):
    with pytest.raises(click.BadParameter, match=why):
        Duration().convert(text, None, None)


def test_nothing_may_be_waited_for_where_that_has_a_meaning():
    assert Duration(or_zero=True).convert("0", None, None) == 0.0


@settings(max_examples=50)
@given(st.text(max_size=12) | st.from_regex(r"[0-9.e+-]{1,8}(ms|[a-z])?", fullmatch=True))
@example("9" * 5000)
def test_any_text_is_a_duration_or_one_clear_error(text):
    try:
        said = "" if Duration(or_zero=True).convert(text, None, None) >= 0 else "less than nothing"
    except click.BadParameter as error:
        said = error.message
    assert not said or said.endswith((f" is not {DURATIONS}", " is longer than 36500 days"))


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["send", "--transport", "http", "--timeout"], "--timeout"),
        (["bridge", "--bootstrap-servers", "h", "--url", "http://h", "--retry-for"], "--retry-for"),
        (["bridge", "--bootstrap-servers", "h", "--url", "http://h", "--grace"], "--grace"),
        (["tables", "--trace-query", "jaeger:http://h", "--lookback"], "--lookback"),
        (["tables", "--trace-query", "jaeger:http://h", "--wait"], "--wait"),
    ],
)
def test_an_option_that_is_no_duration_is_named(arguments, option):
    result = CliRunner().invoke(cli.main, [*arguments, "soon"])
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        f"Error: Invalid value for '{option}': 'soon' is not {DURATIONS}",
    )
