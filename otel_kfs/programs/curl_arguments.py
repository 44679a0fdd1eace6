"""Reads curl's command line, and adds to it: headers, and a report of curl's own timings on standard error."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from otel_kfs.errors import ConfigError
from otel_kfs.programs.descriptors import is_regular_file

_JSON_SINCE = (7, 70)  # the first curl whose --write-out knows %{json}
_OUTPUT_SINCE = (8, 3)  # and %output{FILE}
_UNTIMED_LINE = re.compile(r"^\s*-{0,2}(write-out|w|stderr|retry)\b", re.MULTILINE)
_GLOB = re.compile(r"\{|\[[^\]:]*\]")  # [::1] is an address, not a range
_WITH_BODY = {"data", "data-ascii", "data-binary", "data-raw", "data-urlencode", "form", "form-string", "json"}


@dataclass(frozen=True, slots=True)
class Curl:
    """What a curl says of itself: its version, its options' short names, and which options take a value."""

    version: tuple[int, int]
    shorts: Mapping[str, str]
    takes_value: Mapping[str, bool]

    @property
    def writes_reports_to_files(self) -> bool:
        """Whether its --write-out can name a file."""
        return self.version >= _OUTPUT_SINCE

    def long_name(self, word: str) -> str:
        """Return an option's full name; curl accepts any beginning of it that means one option only."""
        word = word.removeprefix("expand-")
        if word in self.takes_value:
            return word
        found = [name for name in self.takes_value if name.startswith(word)]
        return found[0] if len(found) == 1 else word


@dataclass(frozen=True, slots=True)
class Option:
    """One option as given: its long name, its value, and the indices of its first and last word."""

    name: str
    value: str | None
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Arguments:
    """A command line of curl, parsed."""

    command: tuple[str, ...]
    options: tuple[Option, ...]
    urls: tuple[str, ...]

    def values(self, name: str) -> list[str]:
        """Return the values of an option, in their order."""
        return [option.value or "" for option in self.options if option.name == name]

    def has(self, *names: str) -> bool:
        """Return whether one of the options is given."""
        return any(option.name in names for option in self.options)

    @property
    def method(self) -> str:
        """The request's method, by curl's rules."""
        if requests := self.values("request"):
            return requests[-1]
        if self.has("head"):
            return "HEAD"
        if self.has("upload-file"):
            return "PUT"
        return "POST" if self.has(*_WITH_BODY) and not self.has("get") else "GET"


def is_curl(command: Sequence[str]) -> bool:
    """Return whether a command runs curl."""
    return PurePath(command[0]).name == "curl"


def ask(program: str) -> Curl:
    """Ask curl for its version and features.

    Raises:
        ConfigError: it can't be started, or is not curl.

    """
    try:
        # With -q, so that what .curlrc asks for is not done here as well.
        version = _output(program, "-q", "--version")
        # `--help all` came with 7.73; before, `--help` alone listed everything.
        usage = _output(program, "-q", "--help", "all")
        if "--write-out" not in usage:
            usage = _output(program, "-q", "--help")
    except OSError as error:
        raise ConfigError(f"can't start {program}: {error.strerror}; check its name and PATH") from error
    found = re.match(r"curl (\d+)\.(\d+)", version)
    if not found:
        raise ConfigError(f"{program} --version does not look like curl's: {version[:60]!r}")
    return describe(usage, (int(found[1]), int(found[2])))


def describe(usage: str, version: tuple[int, int]) -> Curl:
    """Describe a curl by the text of its `--help all`."""
    shorts, takes_value = {}, {}
    for short, long, value in re.findall(r"^ *(?:-(\S), )? *--([\w.-]+)( <)?", usage, re.MULTILINE):
        takes_value[long] = bool(value)
        if short:
            shorts[short] = long
    return Curl(version, shorts, takes_value)


def read(command: Sequence[str], curl: Curl) -> Arguments:
    """Read a command line as that curl would."""
    options: list[Option] = []
    urls: list[str] = []
    at, only_urls = 1, False
    while at < len(command):
        word, first = command[at], at
        following = command[at + 1] if at + 1 < len(command) else None
        if only_urls or not word.startswith("-") or word == "-":
            urls.append(word)
        elif word == "--":
            only_urls = True
        elif word.startswith("--"):
            name = curl.long_name(word[2:])
            takes = curl.takes_value.get(name, False)
            at += takes
            options.append(Option(name, following if takes else None, first, at))
        else:
            letters = word[1:]
            while letters:
                name = curl.shorts.get(letters[0], letters[0])
                letters = letters[1:]
                value = None
                if curl.takes_value.get(name, False):
                    if not letters:
                        at += 1
                    value, letters = letters or following, ""
                options.append(Option(name, value, first, at))
        at += 1
    urls += [option.value for option in options if option.name == "url" and option.value]
    return Arguments(tuple(command), tuple(options), tuple(urls))


def check(arguments: Arguments, names: Iterable[str]) -> None:
    """Refuse what can't be traced as one request; `names` are those of the headers that are added.

    Raises:
        ConfigError: several requests, another protocol than HTTP, or one of these headers is set already.

    """
    several = "exec traces one request of curl at a time"
    if len(arguments.urls) > 1 or arguments.has("next"):
        raise ConfigError(f"{several}: start one `otel-kfs exec -- curl` for each URL, without --next")
    for url in arguments.urls:
        if _GLOB.search(url) and not arguments.has("globoff"):
            raise ConfigError(f"{several}, and [] or {{}} in a URL make many: give one URL (or --globoff)")
        if "://" in url and urlsplit(url).scheme.lower() not in {"http", "https"}:
            raise ConfigError("exec traces curl's HTTP requests only: give an http or https URL")
    for header in arguments.values("header"):
        name = re.split("[:;]", header, maxsplit=1)[0].strip().lower()
        if name in {added.lower() for added in names}:
            raise ConfigError(f"curl's arguments set the header {name}, which exec sets: leave it out")


def untimed(arguments: Arguments, curl: Curl, direct: bool = False) -> str | None:
    """Say why curl's timings can't be had, `direct`ly or by its standard error; None if they can.

    What can't be read without taking it from curl, as a pipe, is not looked into.
    """
    if curl.version < _JSON_SINCE:
        return "this curl is older than 7.70"
    if arguments.has("retry"):
        return "with --retry the attempts can't be told apart"
    if arguments.has("stderr") and not direct:
        return "with --stderr the timings would land in its file"
    return _unreadable_format(arguments) or _configured(arguments)


def _unreadable_format(arguments: Arguments) -> str | None:
    """Say why the --write-out format can't be read here; None if it can, or there is none."""
    last = (arguments.values("write-out") or [""])[-1]
    if last == "@-":
        return "the --write-out format comes from standard input"
    if last.startswith("@") and not is_regular_file(last[1:]):
        return f"the --write-out format {last[1:]} is no regular file, so curl alone reads it"
    return None


def _configured(arguments: Arguments) -> str | None:
    """Say which configuration file keeps curl's timings from us; None if none does."""
    for file in _configurations(arguments):
        if file == "-":
            return "curl's --config comes from standard input"
        if os.path.exists(file) and not is_regular_file(file) and not os.path.samefile(file, os.devnull):
            return f"curl's --config {file} is no regular file, so curl alone reads it"
        try:
            text = Path(file).read_text(errors="replace")
        except OSError:
            continue  # curl itself says what is wrong with it
        if found := _UNTIMED_LINE.search(text):
            return f"{file} sets {found[1]}"
    return None


def with_headers(arguments: Arguments, headers: Mapping[str, str], beginning: str = "", end: str = "") -> list[str]:
    """Add headers to the command and, where `beginning` says where to, a report of curl's timings up to `end`.

    Raises:
        ConfigError: the user's --write-out format lies in a file that can't be read.

    """
    added = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    at = 1
    if arguments.options and arguments.command[1].startswith(("-q", "--disable")):
        # Only as the first of all does it keep curl from reading its configuration file.
        at = max(option.last for option in arguments.options if option.first == 1) + 1
    command = list(arguments.command)
    if beginning:
        formats = [option for option in arguments.options if option.name == "write-out"]
        # Ours goes first: after the user's %{onerror} it would be shown for errors only.
        merged = f"{beginning}%{{json}}{end}{_format(formats[-1].value) if formats else ''}"
        # The last format given is the one that counts.
        after = formats[-1].last + 1 if formats else at
        command[after:after] = ["--write-out", merged]
    command[at:at] = added
    return command


def _format(value: str | None) -> str:
    """Return the user's --write-out format; curl reads one from @FILE without its line ends."""
    if not value or not value.startswith("@"):
        return value or ""
    try:
        return re.sub(r"[\r\n\0]", "", Path(value[1:]).read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError as error:
        raise ConfigError(f"can't read curl's --write-out format {value[1:]}: {error.strerror}") from error


def _configurations(arguments: Arguments) -> list[str]:
    files = arguments.values("config")
    first = arguments.command[1] if len(arguments.command) > 1 else ""
    if not first.startswith("-q") and first != "--disable":
        folders = [os.environ.get("CURL_HOME"), os.environ.get("HOME")]
        files += [f"{folder}/.curlrc" for folder in folders if folder]
        folders = [os.environ.get("XDG_CONFIG_HOME"), os.path.expanduser("~/.config")]
        files += [f"{folder}/curlrc" for folder in folders if folder]
    return files


def _output(*command: str) -> str:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
