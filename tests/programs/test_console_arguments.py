"""Reading the console producer's command line and putting headers into its lines: pure functions."""

import os

import pytest

from otel_kfs.errors import ConfigError
from otel_kfs.programs import console_arguments
from otel_kfs.programs.console_arguments import Lines

SCRIPT = "kafka-console-producer.sh"
CLASS = "org.apache.kafka.tools.ConsoleProducer"
HEADERS = {"traceparent": "00-1-2-03"}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([SCRIPT], True),
        (["./kafka_2.13-4.3.1/bin/" + SCRIPT, "--topic", "t"], True),
        (["kafka-console-producer", "--topic", "t"], True),
        (["java", "-cp", "libs/*", CLASS, "--topic", "t"], True),
        (["/usr/bin/java", "kafka.tools.ConsoleProducer"], True),
        (["bin/kafka-run-class.sh", CLASS], True),
        (["java", "-jar", "x.jar"], False),
        (["kafka-console-consumer.sh"], False),
        (["echo", CLASS], False),
    ],
)
def test_the_console_producer_is_known_by_its_script_or_class(command, expected):
    assert console_arguments.is_console_producer(command) == expected


def test_options_are_read_in_both_their_forms():
    arguments = console_arguments.read(
        [
            SCRIPT,
            "--topic=a",
            "--sync",
            "--property",
            "parse.key=true",
            "--reader-property=key.separator==",
            "--topic",
            "b",
        ]
    )
    assert arguments.options == (
        ("topic", "a"),
        ("sync", ""),
        ("property", "parse.key=true"),
        ("reader-property", "key.separator=="),
        ("topic", "b"),
    )
    assert (arguments.topic, arguments.properties) == ("b", {"parse.key": "true", "key.separator": "="})


def test_a_reader_configuration_gives_way_to_properties(tmp_path):
    file = tmp_path / "reader.properties"
    file.write_text("# lines\nparse.key = true\nkey.separator=\\t\nheaders.separator=;\n")
    arguments = console_arguments.read([SCRIPT, "--property", "headers.separator=|", "--reader-config", str(file)])
    assert arguments.properties == {"parse.key": "true", "key.separator": "\t", "headers.separator": "|"}


def test_a_reader_configuration_that_is_a_pipe_is_left_to_the_console_producer(tmp_path):
    pipe = tmp_path / "reader.properties"
    os.mkfifo(pipe)
    arguments = console_arguments.read([SCRIPT, "--reader-config", str(pipe)])
    assert (arguments.properties, arguments.unknown_format) == ({}, str(pipe))


def test_another_line_reader_is_refused():
    with pytest.raises(ConfigError, match=r"^exec can't put trace context into the lines of my\.Reader: leave out"):
        console_arguments.read([SCRIPT, "--line-reader", "my.Reader"])


def installed(folder, jar):
    """A Kafka's folder, as far as its version is concerned; returns its console producer."""
    for name in ("bin", "libs"):
        (folder / name).mkdir()
    (folder / "libs" / jar).touch()
    return str(folder / "bin" / SCRIPT)


@pytest.mark.parametrize(
    ("jar", "added"),
    [
        ("kafka-clients-3.2.0.jar", ["--property", "parse.headers=true"]),
        ("kafka-clients-3.9.1.jar", ["--property", "parse.headers=true"]),
        ("kafka-clients-4.1.0.jar", ["--property", "parse.headers=true"]),
        ("kafka-clients-4.3.1.jar", ["--reader-property", "parse.headers=true"]),
        ("kafka-clients-7.5.0-ccs.jar", ["--property", "parse.headers=true"]),
    ],
)
def test_header_parsing_is_switched_on_as_the_version_wants_it(tmp_path, jar, added):
    command = [installed(tmp_path, jar), "--topic", "t"]
    assert console_arguments.with_headers(console_arguments.read(command)) == [*command, *added]


@pytest.mark.parametrize("option", ["--property", "--reader-property"])
def test_the_users_kind_of_property_is_kept(tmp_path, option):
    command = [installed(tmp_path, "kafka-clients-4.3.1.jar"), option, "parse.key=true"]
    assert console_arguments.with_headers(console_arguments.read(command)) == [*command, option, "parse.headers=true"]


def test_headers_that_are_parsed_already_need_no_property_and_no_version():
    command = [SCRIPT, "--property", "parse.headers=true"]
    assert console_arguments.with_headers(console_arguments.read(command)) == command


@pytest.mark.parametrize("jar", ["kafka-clients-2.5.0.jar", "kafka-clients-3.1.2.jar", "kafka-clients-7.1.0-ce.jar"])
def test_a_console_producer_without_headers_is_refused(tmp_path, jar):
    with pytest.raises(ConfigError, match=r"can't send headers; use 3\.2 or newer"):
        console_arguments.with_headers(console_arguments.read([installed(tmp_path, jar), "--topic", "t"]))


def test_the_version_is_asked_for_where_no_jar_tells_it(tmp_path):
    script = tmp_path / SCRIPT
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "3.7.0 (Commit:abc)"\n')
    script.chmod(0o755)
    command = [str(script), "--topic", "t"]
    assert console_arguments.with_headers(console_arguments.read(command)) == [
        *command,
        "--property",
        "parse.headers=true",
    ]


def test_a_version_that_nobody_tells_is_an_error(tmp_path):
    script = tmp_path / SCRIPT
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    with pytest.raises(ConfigError, match=r"^can't find out the version of "):
        console_arguments.with_headers(console_arguments.read([str(script), "--topic", "t"]))


@pytest.mark.parametrize(
    ("lines", "line", "expected"),
    [
        (Lines(), b"value\n", (b"traceparent:00-1-2-03\tvalue\n", 5)),
        (Lines(), b"value", (b"traceparent:00-1-2-03\tvalue", 5)),
        (Lines(), b"a\tb,c:d\r\n", (b"traceparent:00-1-2-03\ta\tb,c:d\r\n", 7)),
        (Lines(), b"\n", (b"traceparent:00-1-2-03\t\n", 0)),
        (Lines(), b"\xff\xfe\n", (b"traceparent:00-1-2-03\t\xff\xfe\n", 2)),
        (Lines(parses_key=True), b"key\tvalue\n", (b"traceparent:00-1-2-03\tkey\tvalue\n", 5)),
        (
            Lines(delimiter="|", separator=";", header_separator="="),
            b"v\n",
            (b"traceparent=00-1-2-03|v\n", 1),
        ),
        (Lines(parses_headers=True), b"a:1,b:2\tv\n", (b"traceparent:00-1-2-03,a:1,b:2\tv\n", 1)),
        (Lines(parses_headers=True), b"a:1,traceparent:old\tv\n", (b"traceparent:00-1-2-03,a:1\tv\n", 1)),
        (
            Lines(parses_headers=True),
            b"baggage:a=1,tracestate:v=1\tv\n",
            (b"traceparent:00-1-2-03,baggage:a=1,tracestate:v=1\tv\n", 1),
        ),
        (Lines(parses_headers=True), b"\tv\n", (b"traceparent:00-1-2-03\tv\n", 1)),
        (Lines(parses_headers=True, null_marker="NULL"), b"NULL\tv\n", (b"traceparent:00-1-2-03\tv\n", 1)),
        (Lines(parses_headers=True), b"no delimiter\n", (b"no delimiter\n", 12)),
        (
            Lines(parses_headers=True, ignores_errors=True),
            b"no delimiter\n",
            (b"traceparent:00-1-2-03\tno delimiter\n", 12),
        ),
        (
            Lines(parses_headers=True, parses_key=True, key_separator="="),
            b"a:1\tkey=value=\n",
            (b"traceparent:00-1-2-03,a:1\tkey=value=\n", 6),
        ),
    ],
)
def test_headers_go_in_front_of_a_line_and_leave_the_rest_as_it_is(lines, line, expected):
    assert lines.put(line, HEADERS) == expected


@pytest.mark.parametrize(("given", "separator"), [(None, ","), (";", ";"), ("\\|", "|"), ("::", "::")])
def test_a_headers_separator_is_a_regular_expression_for_one_text(given, separator):
    properties = ["--property", f"headers.separator={given}"] if given else []
    assert Lines.of(console_arguments.read([SCRIPT, *properties])).separator == separator


@pytest.mark.parametrize("given", ["|", ".", "a+", "[,;]", "\\d"])
def test_a_headers_separator_for_many_texts_is_refused(given):
    with pytest.raises(ConfigError, match="is a regular expression that exec can't write"):
        Lines.of(console_arguments.read([SCRIPT, "--property", f"headers.separator={given}"]))


@pytest.mark.parametrize(
    ("lines", "headers", "option"),
    [
        (Lines(), {"baggage": "a=1,b=2"}, r"headers\.separator"),
        (Lines(delimiter="-"), {"traceparent": "00-1"}, r"headers\.delimiter"),
        (Lines(header_separator="-"), {"uber-trace-id": "1"}, r"headers\.key\.separator"),
    ],
)
def test_headers_that_the_format_can_not_hold_are_refused(lines, headers, option):
    with pytest.raises(ConfigError, match=f"choose another {option} by --property$"):
        lines.check(headers)


def test_a_value_may_hold_the_separator_of_keys():
    Lines().check({"uber-trace-id": "a:b:0:1"})
