"""The grammar of `--trace-query`: from one string to the store that it names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import files
from otel_kfs.traces.filters import RunFilter, expected
from otel_kfs.traces.printable import did_you_mean, excerpt
from otel_kfs.traces.query_url import QueryUrl, split, split_path
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import ReadProgress, TraceStore, duration

# Each is a module of its name, imported when it is asked for: HTTP takes as long to import as many a file to read. Its
# `from_query` is given the place and the options, and says which of them it takes.
STORES = {"jaeger", "tempo", "clickhouse"}
_OWN_RUN = {"clickhouse"}  # stores that see to `run` themselves


def spans(query: str) -> Iterator[Span]:
    """Yield the spans that a query asks for: see `open_store`."""
    # The store lives as long as its spans are read: with it goes the copy of standard input.
    store = open_store(query)
    yield from store.spans()


Waiting = Callable[[TraceStore, int, timedelta, ReadProgress], TraceStore]


def open_store(query: str, say: Callable[[str], None] | None = None, *, waiting: Waiting | None = None) -> TraceStore:
    """Return the store that a query names; `say` is called with a few words on what it is doing.

    `waiting` wraps a store into one that waits for a number of images; callers that measure images pass it.

    - a path: a file, a folder with trace files in it (at any depth), or a pattern with `*`; `-` is standard input
    - `jaeger:http://host:16686?service=image-sender&lookback=1h`; `service` may be given many times
    - `tempo:http://host:3200?lookback=1h`, with `q={ ... }` (TraceQL) for other traces than those of images
    - `clickhouse:http://host:8123?database=otel&table=otel_traces&lookback=1h`: what the Collector's exporter wrote

    The stores take `start` and `end` (ISO 8601) instead of `lookback`, `tenant` (but for ClickHouse), and `expect` and
    `wait`: how many images should be there, and how long to wait for them. All take `run`, the id of one measurement.

    Raises:
        TraceQueryError: it can't be understood, or there is nothing at that path, or it expects images and nobody
            counts them.
    """
    if not query:
        raise TraceQueryError("the trace query is empty; give a path, - for standard input, jaeger:URL or tempo:URL")
    progress = ReadProgress(say)
    scheme, _, rest = query.partition(":")
    if scheme in STORES:
        query_url = split(scheme, rest)
        store: TraceStore = importlib.import_module(f"otel_kfs.traces.stores.{scheme}").from_query(query_url, progress)
    else:
        query_url = split_path(query)
        _check_scheme(scheme, rest, query_url.place)
        store = files.from_query(query_url, progress)
    return _chosen(store, query_url, progress, waiting)


def _check_scheme(scheme: str, rest: str, path: str) -> None:
    """Raise an error for what looks like a store's URL, but names no store, and is no file either."""
    known = sorted(f"{name}:" for name in STORES)
    meant = did_you_mean(f"{scheme}:", known) if rest else ""
    if scheme.isalpha() and (meant or rest.startswith(("http:", "https:", "//"))) and not os.path.lexists(path):
        raise TraceQueryError(
            f"{excerpt(scheme, 40)}: is no trace store{meant}; a trace query is a path, or begins with "
            f"{', '.join(known)}"
        )


def _chosen(store: TraceStore, query_url: QueryUrl, progress: ReadProgress, waiting: Waiting | None) -> TraceStore:
    options = query_url.single()
    if "run" in options and query_url.scheme not in _OWN_RUN:
        store = RunFilter(store, options["run"], keep=query_url.scheme in STORES)
    if "expect" in options:
        images, wait = expected(options["expect"]), duration("wait", options.get("wait", "30s"))
        if waiting is None:
            raise TraceQueryError("expect counts images, and here spans are read: leave it out")
        store = waiting(store, images, wait, progress)
    elif "wait" in options:
        raise TraceQueryError("wait needs expect: how many images there should be")
    return store
