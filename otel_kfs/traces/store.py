"""What every trace store over HTTP shares: the window of time to ask for, and GETs that try again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.span import Span

ENV_HEADERS = "OTEL_KFS_TRACE_STORE_HEADERS"  # key=value,key=value: credentials, kept out of command lines
DEPTH = 500  # traces that one search may bring; a window with more is cut in halves

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SHORTEST = timedelta(milliseconds=2)  # a window is not cut further
_TIMEOUT = (5.0, 60.0)  # seconds to connect, and to wait for an answer

Found = TypeVar("Found")


class TraceStore(Protocol):
    """Where spans come from."""

    def spans(self) -> Iterator[Span]:
        """All spans that were asked for; a span may come more than once."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time, both ends in UTC."""

    start: datetime
    end: datetime

    def halves(self) -> tuple[Window, Window]:
        """The earlier and the later half."""
        middle = self.start + (self.end - self.start) / 2
        return Window(self.start, middle), Window(middle, self.end)


def window(options: Mapping[str, str], now: datetime | None = None) -> Window:
    """The window that `lookback` (`90s`, `30m`, `1h`, `7d`), or `start` and `end` (ISO 8601), ask for; default 1h.

    Raises:
        TraceQueryError: one of them can't be understood.
    """
    end = _time("end", options["end"]) if "end" in options else now or datetime.now(timezone.utc)
    if "start" in options:
        start = _time("start", options["start"])
    else:
        lookback = options.get("lookback", "1h")
        match = re.fullmatch(r"(\d+)([smhd])", lookback)
        if match is None:
            raise TraceQueryError(f"lookback={lookback} is not a time like 90s, 30m, 1h or 7d")
        start = end - timedelta(**{_UNITS[match[2]]: int(match[1])})
    if start >= end:
        raise TraceQueryError(f"the window from {start.isoformat()} to {end.isoformat()} is empty")
    return Window(start, end)


def in_slices(
    whole: Window, search: Callable[[Window], list[Found]], longest: timedelta = timedelta(days=7)
) -> Iterator[Found]:
    """All that `search` finds in a window, though it finds at most DEPTH at a time: what is full is cut in halves."""
    if whole.end - whole.start > longest:
        for half in whole.halves():
            yield from in_slices(half, search, longest)
        return
    found = search(whole)
    if len(found) < DEPTH or whole.end - whole.start <= _SHORTEST:
        yield from found
        return
    for half in whole.halves():
        yield from in_slices(half, search, longest)


class Http:
    """GETs below a base URL, tried again with back-off where that can help; credentials come from the environment."""

    def __init__(self, kind: str, base: str, headers: Mapping[str, str] | None = None) -> None:
        """`kind` is the store's name, for messages."""
        self._kind, self._base = kind, base.rstrip("/")
        self._session = requests.Session()
        retry = Retry(total=4, backoff_factor=0.3, backoff_jitter=0.3, status_forcelist=(429, 502, 503, 504))
        self._session.mount("http://", HTTPAdapter(max_retries=retry, pool_maxsize=16))
        self._session.mount("https://", HTTPAdapter(max_retries=retry, pool_maxsize=16))
        self._session.headers.update({**(headers or {}), **_environment_headers()})

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, allowed: tuple[int, ...] = ()
    ) -> requests.Response:
        """The answer to a GET.

        Raises:
            TraceQueryError: the store was not reached, or answered with a status that is neither 2xx nor `allowed`.
        """
        try:
            response = self._session.get(self._base + path, params=params, timeout=_TIMEOUT)
        except requests.RequestException as error:
            reason = "no answer in time" if isinstance(error, requests.Timeout) else "nothing answers there"
            raise TraceQueryError(f"can't reach {self._kind} at {self._base}: {reason}; check the URL") from error
        if response.ok or response.status_code in allowed:
            return response
        if response.status_code in {401, 403}:
            raise TraceQueryError(
                f"{self._kind} at {self._base} wants credentials ({response.status_code}): put them into "
                f"{ENV_HEADERS}, e.g. 'authorization=Bearer ...'"
            )
        what = " ".join(response.text[:200].split())
        raise TraceQueryError(f"{self._kind} at {self._base} answered {response.status_code} to {path}: {what}")

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Turn what goes wrong while an answer is read into a TraceQueryError that names the store."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TraceQueryError(
                f"{self._kind} at {self._base} answered with something else than traces "
                f"({type(error).__name__}: {error}); is it the query API's URL?"
            ) from error


def _time(name: str, text: str) -> datetime:
    try:
        # Python 3.10 does not know the Z of RFC 3339.
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise TraceQueryError(f"{name}={text} is not a time like 2026-01-31T12:00:00Z") from error
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _environment_headers() -> dict[str, str]:
    headers = {}
    for pair in filter(None, os.environ.get(ENV_HEADERS, "").split(",")):
        key, separator, value = pair.partition("=")
        if not separator:
            raise TraceQueryError(f"{ENV_HEADERS} is not key=value,key=value")
        headers[key.strip()] = value.strip()
    return headers
