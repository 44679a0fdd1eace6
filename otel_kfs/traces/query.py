"""The grammar of `--trace-query`: from one string to the spans it asks for."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import otlp
from otel_kfs.traces.span import Span

_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def spans(query: str) -> Iterator[Span]:
    """The spans that a query asks for.

    A query is a path: a file of OTLP-JSON lines, a folder with such files in it (at any depth), or a pattern with `*`.

    Raises:
        TraceQueryError: there is nothing at that path, or what is there can't be read.

    """
    for file in _files(query):
        yield from otlp.read_file(file)


def _files(query: str) -> list[Path]:
    path = Path(query)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.name.endswith(_ENDINGS))
        if not found:
            raise TraceQueryError(f"no trace files ({', '.join(_ENDINGS)}) in the folder {query}")
        return found
    if glob.has_magic(query):
        found = sorted(Path(match) for match in glob.glob(query, recursive=True) if Path(match).is_file())
        if not found:
            raise TraceQueryError(f"no file matches {query}; quote the pattern so that the shell leaves it alone")
        return found
    raise TraceQueryError(
        f"no file or folder {query}; give the path of OTLP-JSON traces (see `otel-kfs tables --help`)"
    )
