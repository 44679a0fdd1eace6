"""The options of every command that reads traces: `--trace-query`, and each of its parts as an option."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from otel_kfs.cli.command import option
from otel_kfs.cli.parameter_types import Duration
from otel_kfs.traces.query_url import joined

_DURATION = Duration(or_zero=True, keep_text=True)
_PATIENCE = 2.0  # seconds before the progress is shown

_STORES = "Jaeger, Tempo and ClickHouse"

# Each part's name in a query, its option and its help.
_PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "run": ("--run", {"metavar": "ID", "help": "Only the images of this run (see send's --run-id)."}),
    "server": (
        "--server",
        {
            "metavar": "NAME",
            "multiple": True,
            "help": "A service (service.name) that is a model server, where neither its routes nor its spans show it; "
            "repeatable.",
        },
    ),
    "stamps": (
        "--stamps",
        {
            "metavar": "FILE",
            "help": "For traces of any program: which spans' edges are the stamps. See docs/reading-traces.md.",
        },
    ),
    "strict": ("--strict", {"is_flag": True, "help": "Files: fail if anything can't be read, instead of warning."}),
    "lookback": (
        "--lookback",
        {"group": _STORES, "type": _DURATION, "help": "How far back from --end: 30m, 1h, 7d.  [default: 1h]"},
    ),
    "start": (
        "--start",
        {
            "group": _STORES,
            "metavar": "TIME",
            "help": "The start of the window, instead of --lookback: 2026-01-31T12:00:00Z.",
        },
    ),
    "end": ("--end", {"group": _STORES, "metavar": "TIME", "help": "The end of the window.  [default: now]"}),
    "expect": (
        "--expect",
        {
            "group": _STORES,
            "metavar": "N",
            "help": "Wait until the store has N complete images, and fail if it never does.",
        },
    ),
    "wait": (
        "--wait",
        {"group": _STORES, "type": _DURATION, "help": "With --expect: wait at most that long.  [default: 30s]"},
    ),
    "tenant": ("--tenant", {"group": _STORES, "metavar": "NAME", "help": "The tenant, if the store has several."}),
    "service": (
        "--service",
        {
            "group": _STORES,
            "metavar": "NAME",
            "multiple": True,
            "help": "Jaeger: a service in the traces; repeatable.  [default: image-sender]",
        },
    ),
    "q": (
        "--traceql",
        {
            "group": _STORES,
            "metavar": "TRACEQL",
            "help": "Tempo: the TraceQL query that finds the traces, as { ... }.",
        },
    ),
    "grafana": ("--grafana", {"group": _STORES, "metavar": "URL", "help": "Tempo: the Grafana to link traces to."}),
    "datasource": (
        "--datasource",
        {
            "group": _STORES,
            "metavar": "UID",
            "help": "Tempo: the data source's uid in that Grafana.  [default: tempo]",
        },
    ),
    "database": (
        "--database",
        {
            "group": _STORES,
            "metavar": "NAME",
            "help": "ClickHouse: the database that the Collector writes to.  [default: default]",
        },
    ),
    "table": (
        "--table",
        {"group": _STORES, "metavar": "NAME", "help": "ClickHouse: the table there.  [default: otel_traces]"},
    ),
}


Parts = dict[str, list[str]]


def trace_parts(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the parts as options; the command gets those that are given as `parts`, to be joined to a query."""

    @functools.wraps(command)
    def with_parts(*args: Any, **options: Any) -> Any:
        parts: Parts = {}
        for key in _PARTS:
            value = options.pop(f"trace_{key}")
            if value:
                parts[key] = list(value) if isinstance(value, tuple) else ["1" if value is True else value]
        return command(*args, parts=parts, **options)

    for key, (flag, settings) in reversed(_PARTS.items()):
        with_parts = option(flag, f"trace_{key}", **settings)(with_parts)
    return with_parts


def trace_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all of these options; the command gets them as one `trace_query`."""
    return _with_query(
        command,
        required=True,
        help="Where to read traces: a file, folder or pattern, - (standard input), jaeger:URL, tempo:URL or "
        "clickhouse:URL. See docs/trace-queries.md.",
    )


def optional_trace_options(purpose: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the same to a command that also works without traces: `trace_query` may be None."""
    return functools.partial(_with_query, required=False, help=f"{purpose} Takes what `otel-kfs tables` takes.")


def _with_query(command: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    @functools.wraps(command)
    def with_one_query(*args: Any, trace_query: str | None, parts: Parts, **options: Any) -> Any:
        if trace_query is not None:
            trace_query = joined(trace_query, parts)
        elif parts:
            flag, _ = _PARTS[next(iter(parts))]
            raise click.UsageError(f"{flag} needs --trace-query")
        return command(*args, trace_query=trace_query, **options)

    return option("--trace-query", metavar="QUERY", **settings)(trace_parts(with_one_query))


@contextmanager
def reading(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show on standard error what a store is doing when that takes long; yield the function to call with it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    status = console.status(Text("reading traces"))
    timer = threading.Timer(_PATIENCE, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda what: status.update(Text(what))
    finally:
        timer.cancel()
        timer.join()
        status.stop()
