"""A misspelled word - a command, an option, a choice, a store, a key - is answered with the one that was meant."""

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_kfs import cli
from otel_kfs.traces.printable import nearest
from otel_kfs.traces.query_url import OPTIONS

SCHEMES = ("jaeger", "tempo", "clickhouse")
WORDS = sorted(cli.main.commands)
CHOICES = [
    pytest.param(name, one, id=f"{name} {one.opts[-1]}")
    for name, command in sorted(cli.main.commands.items())
    for one in command.params
    if isinstance(one.type, click.Choice)
]


def misspelled(word):
    """A word with its second and third letters swapped, or with one too many."""
    swapped = word[0] + word[2:3] + word[1:2] + word[3:]
    return swapped if swapped != word else word + "x"


def last_line(*arguments):
    result = CliRunner().invoke(cli.main, arguments, prog_name="otel-kfs")
    assert (result.exit_code, result.stdout) in {(1, ""), (2, "")}
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", WORDS)
def test_a_command(name):
    said = last_line(misspelled(name))
    assert said.startswith(f"Error: No such command '{misspelled(name)}'. ")
    assert f"'{name}'" in said.partition("Did you mean")[2]


@pytest.mark.parametrize("name", WORDS)
def test_an_option(name):
    for option in ("--verbose", "--quiet"):
        said = last_line(name, option[:-1] + "x" + option[-1])
        assert option in said.partition("Did you mean")[2]


@pytest.mark.parametrize(("name", "option"), CHOICES)
def test_a_choice(name, option):
    long = max(option.type.choices, key=len)
    with pytest.raises(click.BadParameter) as raised:
        option.type.convert(misspelled(long), option, None)
    assert raised.value.message.endswith((f". Did you mean {long!r}?", " Did you mean 'yes'?"))


def test_a_choice_that_is_like_none_is_answered_with_all():
    assert last_line("send", "--transport", "xyz") == (
        "Error: Invalid value for '--transport': 'xyz' is not one of 'http', 'kafka', 'grpc', 'openai'."
    )


KNOWN = "a trace query is a path, or begins with clickhouse:, jaeger:, tempo:"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rest", ["http://localhost:1", "localhost:1", "//localhost"])
def test_a_trace_store(scheme, rest):
    for given_scheme in (misspelled(scheme), scheme.upper(), scheme[:-1]):
        assert last_line("tables", f"{given_scheme}:{rest}") == (
            f"Error: {given_scheme}: is no trace store (did you mean {scheme}:?); {KNOWN}"
        )


@pytest.mark.parametrize("query", ["http://localhost:16686", "zipkin:http://localhost:9411"])
def test_a_store_that_is_like_none_is_answered_with_all(query):
    assert last_line("tables", query) == f"Error: {query.partition(':')[0]}: is no trace store; {KNOWN}"


def test_a_file_may_be_called_as_a_store_is_misspelled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jeager:x").write_text("not traces")
    assert last_line("tables", "jeager:x").startswith("Error: jeager:x, line 1: not ")


@pytest.mark.parametrize("key", ["rn", "exptect", "strct"])
def test_an_option_behind_a_path(tmp_path, key):
    meant = nearest(key, OPTIONS)
    said = last_line("tables", f"{tmp_path}/gone?{key}=1")
    assert f"gone?{key}=1 ({key!r} is no option; did you mean {meant}?); " in said


def test_an_option_behind_a_store():
    assert last_line("tables", "tempo:http://h?lookbak=1h").startswith(
        "Error: tempo: does not know 'lookbak' (did you mean lookback?); it takes "
    )


def test_a_selector_of_compare(tmp_path):
    from traces_builder import HTTP, otlp_line, spans

    file = tmp_path / "traces.jsonl"
    file.write_text(otlp_line(spans(HTTP)))
    assert last_line("compare", str(file), str(file), "--where", "transprot=http") == (
        "Error: images can't be chosen by 'transprot' (did you mean transport?), only by transport, encoding, "
        "compression, cell, size"
    )


@settings(max_examples=30)
@given(st.text(max_size=20) | st.integers(1, 100_000).map(lambda times: "jeager" * times))
def test_any_word_has_a_near_one_or_none(word):
    assert nearest(word, SCHEMES) in {None, *SCHEMES}
