"""The options of every command that reads traces: `--trace-query`, and its parts as options of their own."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from otel_kfs.traces.location import joined

_PATIENCE = 2.0  # seconds before the progress is shown

# Each option's name in a query, and what it says here.
_PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "service": (
        "--service",
        {
            "multiple": True,
            "help": "Jaeger: a service of the traces; may be given many times.  [default: image-sender]",
        },
    ),
    "lookback": (
        "--lookback",
        {"metavar": "TIME", "help": "How far back from the end: 90s, 30m, 1h, 7d.  [default: 1h]"},
    ),
    "start": ("--start", {"metavar": "TIME", "help": "Instead of --lookback: 2026-01-31T12:00:00Z."}),
    "end": ("--end", {"metavar": "TIME", "help": "The window's end.  [default: now]"}),
    "tenant": ("--tenant", {"help": "The tenant, where a store has several."}),
    "q": ("--traceql", {"metavar": "TRACEQL", "help": "Tempo: other traces than those of images, as { ... }."}),
    "run": ("--run", {"metavar": "ID", "help": "Only the images of this run (see send's --run-id)."}),
    "expect": ("--expect", {"metavar": "N", "help": "Ask the store until it has so many images."}),
    "wait": ("--wait", {"metavar": "TIME", "help": "With --expect: no longer than this.  [default: 30s]"}),
    "grafana": ("--grafana", {"metavar": "URL", "help": "Tempo: the Grafana that links to traces lead to."}),
    "datasource": ("--datasource", {"metavar": "UID", "help": "Tempo: its uid in that Grafana.  [default: tempo]"}),
}


def trace_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options; it is called with all of them as one `trace_query`."""

    @functools.wraps(command)
    def with_one_query(*args: Any, trace_query: str, **options: Any) -> Any:
        given = {}
        for key in _PARTS:
            value = options.pop(f"trace_{key}")
            if value:
                given[key] = list(value) if isinstance(value, tuple) else [value]
        return command(*args, trace_query=joined(trace_query, given), **options)

    for key, (flag, settings) in reversed(_PARTS.items()):
        with_one_query = click.option(flag, f"trace_{key}", **settings)(with_one_query)
    return click.option(
        "--trace-query",
        required=True,
        metavar="QUERY",
        help="A file, folder or pattern of saved traces, or - (standard input); jaeger:URL, tempo:URL or "
        "clickhouse:URL. docs/trace-queries.md has them all.",
    )(with_one_query)


@contextmanager
def reading(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what a store is doing, when that takes long; yields what to call with it."""
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
