"""What every command that reads traces takes: the trace query, and each of its parts as an option."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.shell_completion import CompletionItem

from otel_kfs.cli.command import old_name, option
from otel_kfs.cli.parameter_types import FILE, Duration
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.query_url import joined, without_credentials

_DURATION = Duration(or_zero=True, keep_text=True)
_MOST_RUNS = 20  # the latest
_PATIENCE = 2.0  # seconds before the progress is shown

_STORES = "Jaeger, Tempo and ClickHouse"

# Each part's name in a query, its option and its help.
_PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "run": ("--run", {"metavar": "ID", "help": "Only the images of this run (send's --run)."}),
    "server": (
        "--server",
        {
            "metavar": "NAME",
            "multiple": True,
            "help": "The service.name of a model server, if neither its routes nor its spans show it; repeatable.",
        },
    ),
    "stamps": (
        "--stamps",
        {
            "type": FILE,
            "metavar": "FILE",
            "help": "For traces of any program: which spans' starts and ends are the stamps. See "
            "docs/reading-traces.md.",
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
            "help": "Jaeger: a service in the traces; repeatable.  [default: image-sender, else all]",
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


class Query(click.ParamType[str]):
    """A trace query, understood where it is read; shells complete trace stores, the folders of runs, and files."""

    name = "query"

    def shell_complete(self, _: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return what may be meant by the beginning of a query, or the sign for any file."""
        from otel_kfs.demo.run_folder import RUNS
        from otel_kfs.traces.query import STORES

        runs = sorted(map(str, RUNS.glob("*/traces")), reverse=True)  # latest, and the others by their time
        queries = [*(f"{scheme}:http://" for scheme in sorted(STORES)), *runs[:_MOST_RUNS]]
        found = [query for query in queries if query.startswith(incomplete)]
        return [CompletionItem(query) for query in found] or [CompletionItem(incomplete, type="file")]


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

    with_parts = old_name("--run-id", "--run")(with_parts)
    for key, (flag, settings) in reversed(_PARTS.items()):
        with_parts = option(flag, f"trace_{key}", **settings)(with_parts)
    return with_parts


def trace_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add all of these options, and the query as an argument; the command gets them as one `trace_query`."""
    return _with_query(command, required=True)


def optional_trace_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the same to a command that also works without traces: `trace_query` may be None."""
    return _with_query(command, required=False)


def _with_query(command: Callable[..., Any], *, required: bool) -> Callable[..., Any]:
    @functools.wraps(command)
    def with_one_query(
        *args: Any, query: tuple[str, ...], trace_query: tuple[str, ...], parts: Parts, **options: Any
    ) -> Any:
        found = given_queries(query, trace_query, most=1)
        if required and not found:
            raise no_query()
        if not found and parts:
            flag, _ = _PARTS[next(iter(parts))]
            raise click.UsageError(f"{flag} needs a trace query")
        return command(*args, trace_query=joined(found[0], parts) if found else None, **options)

    as_argument = click.argument("query", nargs=-1, type=Query(), metavar="QUERY" if required else "[QUERY]")
    return as_argument(query_option("The same as QUERY.")(trace_parts(with_one_query)))


def query_option(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--trace-query`, which says the same as an argument does; the command gets all that were given."""
    return option("--trace-query", multiple=True, type=Query(), metavar="QUERY", help=text)


def given_queries(arguments: tuple[str, ...], by_option: tuple[str, ...], *, most: int) -> tuple[str, ...]:
    """Return the trace queries that were given, in one of the two ways.

    Raises:
        UsageError: they were given in both ways, or are too many.
    """
    if arguments and by_option:
        raise click.UsageError(
            f"give the trace query once: here are {_shown(arguments[0])} as an argument and {_shown(by_option[0])} by "
            "--trace-query"
        )
    found = arguments or by_option
    if len(found) > most:
        taken = "one is read" if most == 1 else "two are compared"
        raise click.UsageError(
            f"{len(found)} trace queries are given, and {taken}: name a folder, or put a pattern in quotes, so that "
            "the shell does not expand it: 'traces/*.jsonl'"
        )
    return found


def no_query() -> click.UsageError:
    """Return the error of a command that has nothing to read."""
    command = click.get_current_context().command_path
    return click.UsageError(
        "no trace query: name a file, a folder, jaeger:URL, tempo:URL or clickhouse:URL, as in "
        f"{command} otel-kfs-runs/latest/traces"
    )


def _shown(query: str) -> str:
    return excerpt(without_credentials(query), 60)


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
