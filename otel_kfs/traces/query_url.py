"""Parsing and building of trace queries: a store's URL or a path, and options."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.printable import did_you_mean, excerpt, nearest

# What each option is; a store takes those that it knows, and all take COMMON.
OPTIONS = {
    "service": "a service that takes part in the traces",
    "lookback": "how far back from the end, as 30m, 1h or 7d",
    "start": "the window's start, as 2026-01-31T12:00:00Z",
    "end": "the window's end",
    "tenant": "the tenant's name",
    "q": "TraceQL",
    "database": "the database to which the Collector's exporter writes",
    "table": "its table",
    "grafana": "Grafana's URL, for links to traces",
    "datasource": "the uid of the store's data source in Grafana",
    "run": "the run id of one measurement",
    "server": "a service that is a model server",
    "stamps": "a TOML file that says which spans' starts and ends are the stamps",
    "strict": "1: what can't be read is an error",
    "expect": "how many images there should be; the store is asked until they are complete",
    "wait": "how long to wait for them, as 30s",
}
STDIN = "-"
COMMON = {"run", "server", "stamps", "expect", "wait"}
_MANY = {"service", "server"}  # options that may be given many times

# What a duration looks like, in words; and how many seconds its units have.
DURATIONS = "a duration such as 30, 500ms, 30s, 5m, 1h or 7d"
_SECONDS = {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(?P<number>(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)(?P<unit>ms|[smhd]?)", re.ASCII | re.IGNORECASE)

_TAIL = re.compile(r"(?P<place>.+?)\?(?P<options>[a-z]+=[^?]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class QueryUrl:
    """A store's place (URL or path) and the query's options, in the order in which they were given."""

    scheme: str
    place: str
    options: Mapping[str, Sequence[str]]

    def only(self, *known: str, common: Set[str] = COMMON) -> QueryUrl:
        """Itself, if it has no option besides these and the common ones.

        Raises:
            TraceQueryError: it has.
        """
        takes = common | set(known)
        for key, values in self.options.items():
            if key not in takes:
                meant = did_you_mean(key, takes)
                raise TraceQueryError(
                    f"{self.scheme}: does not know {key!r}{meant}; it takes {', '.join(sorted(takes))}"
                )
            if len(values) > 1 and key not in _MANY:
                raise TraceQueryError(f"{key} is given {len(values)} times; once is enough")
        return self

    def url(self) -> str:
        """Return the place as the URL of a server.

        Raises:
            TraceQueryError: it is none, or has a user's name or password in it.
        """
        return server_url(self.scheme, self.place)

    def single(self) -> dict[str, str]:
        """Return the options that are given once, by name."""
        return {key: values[0] for key, values in self.options.items() if key not in _MANY}


def split(scheme: str, rest: str) -> QueryUrl:
    """Return the place and the options of what follows a store's scheme in a query."""
    place, _, text = rest.partition("?")
    options: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True)
    except ValueError as error:
        raise TraceQueryError(f"{scheme}: its options can't be read: {error}") from error
    for key, value in pairs:
        options.setdefault(excerpt(key, 40), []).append(value)
    return QueryUrl(scheme, place, options)


def split_path(query: str) -> QueryUrl:
    """Return the path of a query without a scheme, and its options, if a `?` is followed by the name of one."""
    match = _TAIL.fullmatch(query)
    if match is not None:
        query_url = split("files", f"x?{match['options']}")
        if query_url.options and query_url.options.keys() <= OPTIONS.keys():
            return QueryUrl("files", match["place"], query_url.options)
    return QueryUrl("files", query, {})


def misspelled_option(path: str) -> str:
    """Say which word behind the `?` of a path is no option, as the middle of a sentence; nothing if there is none."""
    match = _TAIL.fullmatch(path)
    if match is None:
        return ""
    key = next((key for key in split("files", f"x?{match['options']}").options if key not in OPTIONS), "")
    if not key:
        return ""
    word = nearest(key, OPTIONS)
    return f" ({key!r} is no option{f'; did you mean {word}?' if word else ''})"


def is_stdin(query: str) -> bool:
    """Whether a query is standard input, which can be read once."""
    return split_path(query).place == STDIN


def server_url(name: str, text: str) -> str:
    """Return the URL of a server, without a slash at its end.

    Raises:
        TraceQueryError: it is none, or has a user's name or password in it; the message does not show those.
    """
    try:
        url = urlsplit(text)
        is_valid = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or not text.isprintable() or " " in text:
        raise TraceQueryError(f"{name}: needs the URL of a server, as in {name}:http://host:port?lookback=1h")
    if "@" in url.netloc:
        raise TraceQueryError(
            f"{name}: leave user and password out of the URL; OTEL_KFS_TRACE_STORE_HEADERS takes credentials, e.g. "
            "'authorization=Basic ...'"
        )
    return url._replace(query="", fragment="").geturl().rstrip("/")


def options_of(query: str) -> Mapping[str, Sequence[str]]:
    """Return the options in a query."""
    scheme, _, rest = query.partition(":")
    return (split(scheme, rest) if is_url(query) else split_path(query)).options


def is_url(query: str) -> bool:
    """Whether a query is a store's URL behind its scheme; else it is a path."""
    return re.match("[a-z]+:https?:", query) is not None


def run_of(query: str) -> str | None:
    """Return the run whose images alone a query asks for; None if it asks for all."""
    runs = options_of(query).get("run")
    return runs[0] if runs else None


def joined(query: str, given: Mapping[str, Sequence[str]]) -> str:
    """Return a query with further options.

    Raises:
        TraceQueryError: one of them has another value in the query.
    """
    options = options_of(query)
    added = []
    for key, values in given.items():
        there = options.get(key)
        if there is None:
            added += [f"{key}={quote(value, safe=':/')}" for value in values]
        elif list(there) != list(values):
            raise TraceQueryError(
                f"{key} is {excerpt(', '.join(there))} in the trace query and {excerpt(', '.join(values))} beside "
                "it; give it once"
            )
    if not added:
        return query
    return f"{query}{'&' if options else '?'}{'&'.join(added)}"


def parse_seconds(text: str) -> float:
    """Return the seconds of a duration as people write it: `30` (seconds), `500ms`, `30s`, `5m`, `1h` or `7d`.

    Raises:
        ValueError: it is none, or longer than a number can say.
    """
    match = _DURATION.fullmatch(text.strip())
    seconds = float(match["number"]) * _SECONDS[match["unit"].lower()] if match else math.inf
    if math.isinf(seconds):
        raise ValueError(f"{excerpt(text, 40)} is not {DURATIONS}")
    return seconds


def without_credentials(text: str) -> str:
    """Return a query or a command without the user and password of its URLs."""
    return re.sub(r"(?<=://)[^/?#\s'\"]*@", "", text)
