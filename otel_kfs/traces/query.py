"""The grammar of `--trace-query`: from one string to the store that it names."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from otel_kfs import names
from otel_kfs.errors import TraceQueryError
from otel_kfs.traces import otlp
from otel_kfs.traces.jaeger import Jaeger
from otel_kfs.traces.span import Span
from otel_kfs.traces.store import TraceStore, window
from otel_kfs.traces.tempo import Tempo

_ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
_WINDOW = {"lookback", "start", "end"}


def spans(query: str) -> Iterator[Span]:
    """The spans that a query asks for: see `open_store`."""
    return open_store(query).spans()


def open_store(query: str) -> TraceStore:
    """The store that a query names.

    - a path: a file of OTLP-JSON lines, a folder with such files in it (at any depth), or a pattern with `*`
    - `jaeger:http://host:16686?service=image-sender&lookback=1h`; `service` may be given many times
    - `tempo:http://host:3200?lookback=1h`, with `q={ ... }` (TraceQL) for other traces than those of images

    Both stores take `start` and `end` (ISO 8601) instead of `lookback`, and `tenant`.

    Raises:
        TraceQueryError: it can't be understood, or there is nothing at that path.
    """
    if not query:
        raise TraceQueryError("the trace query is empty; give a path, jaeger:URL or tempo:URL")
    for scheme, opener in _STORES.items():
        if query.startswith(f"{scheme}:"):
            return opener(query.removeprefix(f"{scheme}:"))
    return _Files(query)


class _Files:
    def __init__(self, query: str) -> None:
        try:
            self._files = _files(query)
        except OSError as error:
            raise TraceQueryError(f"can't read {query}: {error.strerror}") from error

    def spans(self) -> Iterator[Span]:
        for file in self._files:
            yield from otlp.read_file(file)


def _files(query: str) -> list[Path]:
    path = Path(query)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.name.endswith(_ENDINGS) and file.is_file())
        if not found:
            raise TraceQueryError(f"no trace files ({', '.join(_ENDINGS)}) in the folder {query}")
        return found
    if glob.has_magic(query):
        found = sorted(Path(match) for match in glob.glob(query, recursive=True) if Path(match).is_file())
        if not found:
            raise TraceQueryError(f"no file matches {query}; quote the pattern so that the shell leaves it alone")
        return found
    raise TraceQueryError(
        f"no file or folder {query}; give a path of OTLP-JSON traces, jaeger:URL or tempo:URL "
        "(see `otel-kfs tables --help`)"
    )


def _jaeger(rest: str) -> Jaeger:
    url, options = _parts("jaeger", rest, {"service", "tenant", *_WINDOW})
    services = options.pop("service", ["image-sender"])
    single = _single(options)
    return Jaeger(url, services, window(single), single.get("tenant"))


def _tempo(rest: str) -> Tempo:
    url, options = _parts("tempo", rest, {"q", "tenant", *_WINDOW})
    single = _single(options)
    traceql = single.get("q", f'{{ name = "{names.SEND_IMAGE}" }}')
    return Tempo(url, traceql, window(single), single.get("tenant"))


_STORES: dict[str, Callable[[str], TraceStore]] = {"jaeger": _jaeger, "tempo": _tempo}


def _parts(store: str, rest: str, known: set[str]) -> tuple[str, dict[str, list[str]]]:
    url = urlsplit(rest)
    if url.scheme not in {"http", "https"} or not url.netloc:
        raise TraceQueryError(f"{store}: needs the URL of a server, as in {store}:http://host:port?lookback=1h")
    options: dict[str, list[str]] = {}
    for key, value in parse_qsl(url.query, keep_blank_values=True):
        if key not in known:
            raise TraceQueryError(f"{store}: does not know {key!r}; it takes {', '.join(sorted(known))}")
        options.setdefault(key, []).append(value)
    return url._replace(query="", fragment="").geturl(), options


def _single(options: dict[str, list[str]]) -> dict[str, str]:
    for key, values in options.items():
        if len(values) > 1:
            raise TraceQueryError(f"{key} is given {len(values)} times; once is enough")
    return {key: values[0] for key, values in options.items()}
