"""The stamps file: what it may say, and one line for each mistake."""

import contextlib
from pathlib import Path

import pytest

from otel_kfs.analysis.stamps.stamps_file import Stamp, StampsFile, load
from otel_kfs.errors import ConfigError
from otel_kfs.traces.span import Kind, Span

NO_SIZE = "unit: there is no size that it could be the unit of: add size, or leave it out"

RIGHT = """
title = "Orders"
size = "order.items"
unit = "items"
group = "payment.method"
[[stamp]]
number = 1
edge = "start"
span = "POST *"
service = "shop"
kind = "SERVER"
attributes = { "http.route" = "/orders", "retry" = false, "http.response.status_code" = 200 }
[[stamp]]
segment = "payment"
edge = "end"
span = "charge"
which = "last"
[[stamp]]
number = 4
segment = "packing"
edge = "end"
span = "pack"
"""
FIRST = '[[stamp]]\nnumber = 1\nedge = "start"\nspan = "a"\n'
LAST = '[[stamp]]\nnumber = 4\nsegment = "s"\nedge = "end"\nspan = "b"\n'


def written(tmp_path, text):
    file = tmp_path / "stamps.toml"
    file.write_text(text)
    return file


def mistakes(tmp_path, text):
    """The lines of the error that a file gives, without the file's name, which each of them begins with."""
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as raised:
        load(file)
    lines = str(raised.value).split("\n")
    assert all(line.startswith(f"{file}: ") for line in lines)
    return [line.removeprefix(f"{file}: ") for line in lines]


def test_a_file_says_which_edges_of_which_spans_the_stamps_are(tmp_path):
    attributes = (("http.route", "/orders"), ("retry", "false"), ("http.response.status_code", "200"))
    assert load(written(tmp_path, RIGHT)) == StampsFile(
        "Orders",
        (
            Stamp("start", 1, "", "POST *", "shop", Kind.SERVER, attributes),
            Stamp("end", None, "payment", "charge", last=True),
            Stamp("end", 4, "packing", "pack"),
        ),
        "order.items",
        "items",
        "payment.method",
    )


def test_without_a_title_it_is_the_file_s_name(tmp_path):
    assert load(written(tmp_path, FIRST + LAST)).title == "stamps"


def test_an_attribute_s_name_needs_no_quotes(tmp_path):
    text = FIRST + "attributes.http.route = '/orders'\nattributes.retry = true\n" + LAST
    assert load(written(tmp_path, text)).stamps[0].attributes == (("http.route", "/orders"), ("retry", "true"))


def test_the_keys_are_the_attributes_that_are_asked_for(tmp_path):
    keys = {"order.items", "payment.method", "http.route", "retry", "http.response.status_code"}
    assert load(written(tmp_path, RIGHT)).keys == keys


@pytest.mark.parametrize(
    ("stamp", "fits"),
    [
        (Stamp("start", span="POST /orders"), True),
        (Stamp("start", span="POST *"), True),
        (Stamp("start", span="post *"), False),
        (Stamp("start", service="sh?p"), True),
        (Stamp("start", service="packers"), False),
        (Stamp("start", kind=Kind.SERVER), True),
        (Stamp("start", kind=Kind.CLIENT), False),
        (Stamp("start", attributes=(("items", "3"),)), True),
        (Stamp("start", attributes=(("items", "3"), ("gift", "true"))), True),
        (Stamp("start", attributes=(("items", "3"), ("gift", "false"))), False),
        (Stamp("start", attributes=(("colour", "*"),)), False),
        (Stamp("start", span="POST *", service="packers"), False),
    ],
)
def test_a_span_fits_if_it_is_all_that_is_asked_for(stamp, fits):
    span = Span("t", "s", None, "POST /orders", Kind.SERVER, 1, 2, "shop", "h", False, {"items": 3, "gift": True})
    assert stamp.fits(span) == fits


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "titel = 'x'\n" + FIRST + LAST,
            ["titel: unknown key (did you mean title?); the keys are title, size, unit, group, stamp"],
        ),
        (
            "name = 'x'\n" + FIRST + LAST,
            ["name: unknown key (did you mean title?); the keys are title, size, unit, group, stamp"],
        ),
        *(
            (
                FIRST + f"{key} = 'x'\n" + LAST,
                [
                    f"stamp 1.{key}: unknown key{meant}; the keys are number, segment, edge, span, service, kind, "
                    "attributes, which"
                ],
            )
            for key, meant in {
                "name": " (did you mean span?)",
                "operationName": " (did you mean span?)",
                "span_kind": " (did you mean kind?)",
                "service_name": " (did you mean service?)",
                "tags": " (did you mean attributes?)",
                "http": "",
                "moment": "",
                "index": "",
            }.items()
        ),
        (
            FIRST + "http.method = 'x'\n" + LAST,
            [
                "stamp 1.http: unknown key (an attribute? give it under attributes); the keys are number, segment, "
                "edge, span, service, kind, attributes, which"
            ],
        ),
        ("title = 3\n" + FIRST + LAST, ["title: 3 is not allowed; give text"]),
        ("size = ' '\n" + FIRST + LAST, ["size: ' ' is not allowed; give text"]),
        (
            "unit = 'items'\n" + FIRST + LAST,
            ["unit: there is no size that it could be the unit of: add size, or leave it out"],
        ),
        ("", ["stamp: give each stamp as a table [[stamp]], in the order of the path"]),
        ("stamp = 3", ["stamp: give each stamp as a table [[stamp]], in the order of the path"]),
        ("[stamp]\nedge = 'start'", ["stamp: give each stamp as a table [[stamp]], in the order of the path"]),
        (FIRST, ["stamp: there are 1; give 2 to 50"]),
        (
            FIRST + LAST.replace("edge", "egde"),
            [
                "stamp 2.egde: unknown key (did you mean edge?); the keys are number, segment, edge, span, service, "
                "kind, attributes, which",
                "stamp 2.edge: it is missing: choose start or end",
            ],
        ),
        (FIRST + LAST.replace('"end"', '"stop"'), ["stamp 2.edge: 'stop' is not allowed; choose start or end"]),
        (
            FIRST + LAST + 'kind = "server"',
            [
                "stamp 2.kind: 'server' is not allowed (did you mean SERVER?); choose INTERNAL or SERVER or CLIENT or "
                "PRODUCER or CONSUMER"
            ],
        ),
        (FIRST + LAST + "which = 2", ["stamp 2.which: 2 is not allowed; choose first or last"]),
        (
            FIRST + LAST + "attributes = 2",
            ['stamp 2.attributes: 2 is not allowed; give a table, like { "http.route" = "/orders" }'],
        ),
        (
            FIRST + LAST + "attributes = { a = [1] }",
            ["stamp 2.attributes.a: [1] is not allowed; give text, a number, true or false"],
        ),
        (
            FIRST.replace('span = "a"\n', "") + LAST,
            ["stamp 1: nothing says which span it is of: give one or more of span, service, kind, attributes"],
        ),
        (FIRST.replace("1", "2") + LAST, ["stamp 1.number: the first stamp is number 1"]),
        (FIRST + LAST.replace("4", "3"), ["stamp 2.number: the last stamp is number 4"]),
        (
            FIRST + LAST.replace("4", "5"),
            [
                "stamp 2.number: 5 is not allowed; choose 1, 2, 3 or 4, or leave it out",
                "stamp 2.number: the last stamp is number 4",
            ],
        ),
        (
            FIRST + LAST.replace("number = 4", "number = true"),
            [
                "stamp 2.number: True is not allowed; choose 1, 2, 3 or 4, or leave it out",
                "stamp 2.number: the last stamp is number 4",
            ],
        ),
        (
            FIRST + LAST.replace("4", "3") + LAST.replace("4", "2").replace('"s"', '"t"') + LAST.replace('"s"', '"u"'),
            ["stamp: their numbers are 1, 3, 2, 4; give each once, in their order"],
        ),
        (
            FIRST + LAST.replace("number = 4", "") + LAST,
            ["stamp 3.segment: stamp 2 has it, too: give each a name of its own"],
        ),
        (
            FIRST + LAST.replace('segment = "s"', ""),
            ["stamp 2.segment: it is missing: what the time since the stamp before is called"],
        ),
        (FIRST + 'segment = "s"\n' + LAST, ["stamp 1.segment: there is no time before the first stamp: leave it out"]),
    ],
)
def test_each_mistake_is_one_line_with_file_and_key_and_what_is_allowed(tmp_path, text, lines):
    assert mistakes(tmp_path, text) == lines


@pytest.mark.parametrize("value", ["{}", "[]", "1.5", "true", "''", "[{}]", "2020-01-01", "-1", "99999999999999999999"])
@pytest.mark.parametrize("key", ["title", "size", "number", "segment", "edge", "span", "kind", "attributes", "which"])
def test_any_value_anywhere_is_taken_or_a_mistake(tmp_path, key, value):
    text = f"{key} = {value}\n{FIRST}{LAST}" if key in {"title", "size"} else f"{FIRST}{key} = {value}\n{LAST}"
    with contextlib.suppress(ConfigError):
        load(written(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"= 3", "is not TOML: "), (b"\xff", "is not TOML: "), (None, "can't read ")],
)
def test_a_file_that_can_t_be_read_is_named(tmp_path, content, message):
    file = tmp_path / "stamps.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as raised:
        load(Path(file))
    assert str(file) in str(raised.value)
