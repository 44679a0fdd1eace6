"""Reads the command line of Kafka's console producer, and puts trace context into the lines that it gets."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from otel_kfs.errors import ConfigError
from otel_kfs.programs.descriptors import is_regular_file

_SCRIPTS = {"kafka-console-producer.sh", "kafka-console-producer"}
_CLASSES = {"org.apache.kafka.tools.ConsoleProducer", "kafka.tools.ConsoleProducer"}
_READERS = {"org.apache.kafka.tools.LineMessageReader", "kafka.tools.ConsoleProducer$LineMessageReader"}

# Where options for the JVM can stand besides the command: those of Kafka's scripts, and the JVM's own.
_JVM_OPTIONS = ("KAFKA_OPTS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
# OpenTelemetry's Java agent: its span of a record begins a trace, whose context it would put in the place of the one
# that the record has. As its own setting says, it then leaves the record's headers alone. It has none for a parent.
_AGENT_SETTINGS = {b"OTEL_INSTRUMENTATION_KAFKA_PRODUCER_PROPAGATION_ENABLED": b"false"}

_HEADERS_SINCE = (3, 2)  # KIP-798: the first console producer that parses headers
_READER_PROPERTY_SINCE = (4, 2)  # KIP-1147: --reader-property, and --property deprecated

# In headers.separator, which is a regular expression.
_REGULAR = set("\\^$.|?*+()[]{}")


@dataclass(frozen=True, slots=True)
class Arguments:
    """A command line of the console producer, parsed: where its options begin, and what they say."""

    command: tuple[str, ...]
    first: int
    options: tuple[tuple[str, str], ...]
    properties: Mapping[str, str] = field(default_factory=dict)

    def value(self, *names: str) -> str | None:
        """Return the last value of an option."""
        return next((value for name, value in reversed(self.options) if name in names), None)

    @property
    def unknown_format(self) -> str | None:
        """A --reader-config that the console producer alone can read, because it is a pipe; None if there is none."""
        files = [value for name, value in self.options if name == "reader-config"]
        return next((file for file in files if os.path.exists(file) and not is_regular_file(file)), None)

    @property
    def topic(self) -> str | None:
        """The topic, if one is given."""
        return self.value("topic")


def is_console_producer(command: Sequence[str]) -> bool:
    """Return whether a command runs Kafka's console producer, by its script or by its class."""
    return _options_start(command) is not None


def _options_start(command: Sequence[str]) -> int | None:
    if PurePath(command[0]).name in _SCRIPTS:
        return 1
    if PurePath(command[0]).name in {"java", "kafka-run-class.sh", "kafka-run-class"}:
        return next((at + 1 for at, word in enumerate(command) if word in _CLASSES), None)
    return None


def read(command: Sequence[str]) -> Arguments:
    """Read a command line of the console producer.

    Raises:
        ConfigError: lines are read by another class than Kafka's own, whose format is not known here.

    """
    first = _options_start(command) or 1
    options: list[tuple[str, str]] = []
    at = first
    while at < len(command):
        name, equals, value = command[at].removeprefix("--").partition("=")
        if command[at].startswith("--"):
            following = command[at + 1] if at + 1 < len(command) else "--"
            if not equals and not following.startswith("--"):
                value = following
                at += 1
            options.append((name, value))
        at += 1
    properties: dict[str, str] = {}
    for name, value in options:
        if name == "reader-config":
            properties = {**_reader_config(value), **properties}
        elif name in {"property", "reader-property"}:
            key, _, value = value.partition("=")  # noqa: PLW2901
            properties[key] = value
    arguments = Arguments(tuple(command), first, tuple(options), properties)
    if (reader := arguments.value("line-reader")) is not None and reader not in _READERS:
        raise ConfigError(f"exec can't put trace context into the lines of {reader}: leave out --line-reader")
    return arguments


def with_headers(arguments: Arguments) -> list[str]:
    """Switch header parsing on in the command.

    Raises:
        ConfigError: this console producer is too old to know headers, or its version can't be found out.

    """
    if Lines.of(arguments).parses_headers:
        return list(arguments.command)
    version = _version(arguments)
    if version < _HEADERS_SINCE:
        raise ConfigError(
            f"the console producer of Kafka {version[0]}.{version[1]} can't send headers; use 3.2 or newer "
            "(it may send to an older broker)"
        )
    option = "--reader-property" if version >= _READER_PROPERTY_SINCE else "--property"
    for given in ("property", "reader-property"):
        if any(name == given for name, _ in arguments.options):
            option = f"--{given}"  # the two don't go together
    return [*arguments.command, option, "parse.headers=true"]


def agent_settings(arguments: Arguments) -> Mapping[bytes, bytes]:
    """Return the variables by which a Java agent in the program leaves a record's trace context as it is.

    Where the command or its environment names no agent there are none.
    """
    given = [*arguments.command[: arguments.first], *(os.environ.get(name, "") for name in _JVM_OPTIONS)]
    return _AGENT_SETTINGS if any("-javaagent:" in words for words in given) else {}


def _version(arguments: Arguments) -> tuple[int, int]:
    """Find out the tool's version: by the jars beside it, or else by asking it, which costs a start of the JVM."""
    text = ""
    for folder in _jar_folders(arguments):
        for jar in sorted(folder.glob("kafka-clients-*.jar")):
            text = jar.name.removeprefix("kafka-clients-")
    if not text:
        try:
            answer = subprocess.run(
                [*arguments.command[: arguments.first], "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise ConfigError(
                f"can't start {arguments.command[0]}: {error.strerror}; check its name and PATH"
            ) from error
        text = answer.stdout
    found = re.search(r"^(\d+)\.(\d+)\.\d+(-c)?", text, re.MULTILINE)
    if not found:
        raise ConfigError(
            f"can't find out the version of {arguments.command[0]} (by --version, or kafka-clients-*.jar in ../libs); "
            "if it is 3.2 or newer, give --property parse.headers=true and lines with headers"
        )
    # Confluent's 7.2.0-ccs is Apache's 3.2, and so on.
    return int(found[1]) - (4 if found[3] else 0), int(found[2])


def _jar_folders(arguments: Arguments) -> Iterable[Path]:
    command = arguments.command
    for at, word in enumerate(command[: arguments.first]):
        if word in {"-cp", "-classpath", "--class-path"}:
            for entry in command[at + 1].split(os.pathsep):
                yield Path(entry).parent
    yield Path(command[0]).resolve().parent.parent / "libs"


@dataclass(frozen=True, slots=True)
class Lines:
    """How the console producer parses a line, as its reader's properties say."""

    parses_headers: bool = False
    parses_key: bool = False
    ignores_errors: bool = False
    delimiter: str = "\t"  # headers from the rest
    separator: str = ","  # a header from the next
    key_separator: str = "\t"  # the record's key from its value
    header_separator: str = ":"  # a header's key from its value
    null_marker: str | None = None

    @classmethod
    def of(cls, arguments: Arguments) -> Lines:
        """Return the format of a command's lines.

        Raises:
            ConfigError: its headers.separator is a regular expression that does not stand for one text.

        """
        given = arguments.properties

        def flag(name: str) -> bool:
            return given.get(name, "").strip().lower() == "true"

        separator = given.get("headers.separator", ",")
        plain = re.sub(r"\\(\W)", "", separator)
        if _REGULAR & set(plain):
            raise ConfigError(
                f"headers.separator={separator} is a regular expression that exec can't write; use a plain one, as ','"
            )
        return cls(
            parses_headers=flag("parse.headers"),
            parses_key=flag("parse.key"),
            ignores_errors=flag("ignore.error"),
            delimiter=given.get("headers.delimiter", "\t"),
            separator=re.sub(r"\\(\W)", r"\1", separator),
            key_separator=given.get("key.separator", "\t"),
            header_separator=given.get("headers.key.separator", ":"),
            null_marker=given.get("null.marker"),
        )

    def check(self, headers: Mapping[str, str]) -> None:
        """Refuse headers that this format can't hold.

        Raises:
            ConfigError: a header holds one of the format's separators.

        """
        for key, value in headers.items():
            for name, text, where in (
                ("headers.delimiter", self.delimiter, key + value),
                ("headers.separator", self.separator, key + value),
                ("headers.key.separator", self.header_separator, key),
            ):
                if text in where:
                    raise ConfigError(f"the header {key} holds {text!r}: choose another {name} by --property")

    def put(self, line: bytes, headers: Mapping[str, str]) -> tuple[bytes, int]:
        """Put headers in front of a line's own; return the line, and how many bytes of it are the record's value.

        Headers of its own that have the same names are replaced. A line that the console producer will
        refuse for lack of a delimiter stays as it is.
        """
        ours = self.separator.join(f"{key}{self.header_separator}{value}" for key, value in headers.items()).encode()
        own, rest = b"", line
        if self.parses_headers:
            own, delimiter, rest = line.partition(self.delimiter.encode())
            if not delimiter:
                if not self.ignores_errors:
                    return line, len(line.rstrip(b"\r\n"))
                own, rest = b"", line
            if own == (self.null_marker or "").encode():
                own = b""
            pairs = own.split(self.separator.encode()) if own else []
            key_end = self.header_separator.encode()
            kept = [pair for pair in pairs if pair.partition(key_end)[0].decode(errors="replace") not in headers]
            own = self.separator.encode().join(kept)
        value = rest.rstrip(b"\r\n")
        if self.parses_key:
            key, found, after = value.partition(self.key_separator.encode())
            value = after if found else key
        between = self.separator.encode() if own else b""
        return b"".join((ours, between, own, self.delimiter.encode(), rest)), len(value)


def _reader_config(path: str) -> dict[str, str]:
    """Read a Java properties file, as far as separators need it."""
    if not is_regular_file(path):
        return {}
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}  # the console producer itself says what is wrong with it
    found = re.findall(r"^[ \t]*([\w.-]+)[ \t]*[=:][ \t]*(.*)$", text, re.MULTILINE)
    escapes = {"t": "\t", "n": "\n", "f": "\f", "r": "\r"}
    return {key: re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[1]), value) for key, value in found}
