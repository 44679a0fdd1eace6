"""HTTP client of trace stores: GETs with limited retries, whose credentials are sent to the store alone."""

from __future__ import annotations

import base64
import logging
import math
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from otel_kfs.errors import TraceQueryError
from otel_kfs.traces.concurrent import CONCURRENCY, with_timeout
from otel_kfs.traces.printable import excerpt
from otel_kfs.traces.store import NOT_TRACES, AnswerTooLarge, why_malformed

ENV_HEADERS = "OTEL_KFS_TRACE_STORE_HEADERS"  # key=value,key=value: credentials, kept out of command lines
ENV_HEADERS_FILE = "OTEL_KFS_TRACE_STORE_HEADERS_FILE"  # a file with key=value lines, read again when they are refused
LARGEST = 64 * 2**20  # bytes of an answer, decompressed

_TIMEOUT = (5.0, 60.0)  # seconds to connect, and to wait for the next bytes
_WHOLE = 180.0  # seconds for an answer with all its tries
_REDIRECTS = 5
TRIES = 5  # of one request
_BUSY = {429, 502, 503, 504}
_LONGEST_URL = 1000  # characters in the log
_LONGEST_WAIT = 10.0  # seconds, whatever a busy store's Retry-After says

_REDACTED = "REDACTED"
_SCHEMES = re.compile(r"\b(bearer|basic)\s+[^\s\"',;<>]+", re.IGNORECASE)
_LEAST = 4  # characters; a shorter value is no secret, and stands in any text

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer:
    """A store's response to a GET, complete and decompressed."""

    status: int
    content_type: str
    content: bytes


class StoreClient:
    """Sends GETs to paths below a store's base URL; credentials come from the environment or a file."""

    # Of the credentials, headers whose values may be shown.
    _shown: frozenset[str] = frozenset()

    def __init__(self, kind: str, base: str, headers: Mapping[str, str] | None = None) -> None:
        """`kind` is the store's name, for messages."""
        self._kind, self._base, self._headers = kind, base.rstrip("/"), dict(headers or {})
        for key, value in self._headers.items():
            check_header(key, value, "the query")
        self._credentials = self._given()
        self._session: requests.Session | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    def __str__(self) -> str:
        return excerpt(f"{self._kind} at {self._base}")

    def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        allowed: tuple[int, ...] = (),
        accept: str = "application/json",
    ) -> Answer:
        """Return the answer to a GET.

        Raises:
            TraceQueryError: the store was not reached, or answered with a status that is neither 2xx nor `allowed`.
            AnswerTooLarge: the answer is longer than LARGEST.
        """
        answer = self._get(path, params, accept)
        if answer.status == 401 and self.renewed():
            answer = self._get(path, params, accept)
        if 200 <= answer.status < 300 or answer.status in allowed:
            return answer
        if answer.status in {401, 403}:
            raise TraceQueryError(
                f"{self} wants credentials ({answer.status}): put them into {ENV_HEADERS}, e.g. "
                f"'authorization=Bearer ...', or into the file that {ENV_HEADERS_FILE} names"
            )
        raise TraceQueryError(f"{self} answered {answer.status} to {path}: {self.said(answer.content)}")

    def log(self, method: str, response: requests.Response, started: float, more: str = "") -> None:
        """Log a request whose response has been read; its URL contains the window, and no secrets."""
        size, seconds = response.raw.tell(), time.monotonic() - started
        url = self.said(response.url, _LONGEST_URL)
        _log.info("%s %s%s: %d, %d bytes in %.3f s", method, url, more, response.status_code, size, seconds)

    def said(self, what: str | bytes, longest: int = 200) -> str:
        """Return text of the store for use within one line, without credentials that it may echo."""
        text = what[: 2**16].decode(errors="replace") if isinstance(what, bytes) else what
        for secret in self._secrets():
            text = text.replace(secret, _REDACTED)
        return " ".join(excerpt(_SCHEMES.sub(rf"\1 {_REDACTED}", text), longest).split())

    def _secrets(self) -> list[str]:
        """Return the secret parts of the request headers, the longest first."""
        found = set()
        for key, value in self._credentials.items():
            if key.lower() not in self._shown:
                scheme, _, rest = value.partition(" ")
                found |= {value, rest}
                if scheme.lower() == "basic":
                    user_and_password = _decoded(rest)
                    found |= {user_and_password, user_and_password.partition(":")[2]}
        return sorted((secret for secret in found if len(secret) >= _LEAST), key=len, reverse=True)

    @contextmanager
    def understood(self) -> Iterator[None]:
        """Turn errors in parsing a response into a TraceQueryError that names the store."""
        try:
            yield
        except NOT_TRACES as error:
            what = self.said(why_malformed(error), 300)
            raise TraceQueryError(f"{self} did not answer with traces ({what}); is it the query API's URL?") from error

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Turn errors of the connection into a TraceQueryError that names the store."""
        try:
            yield
        except Busy as error:
            raise TraceQueryError(f"{self} is too busy to answer; try again later") from error
        except (requests.Timeout, TimeoutError, urllib3.exceptions.ReadTimeoutError) as error:
            raise TraceQueryError(f"can't reach {self}: no answer in time; check the URL") from error
        except requests.exceptions.SSLError as error:
            raise TraceQueryError(
                f"can't reach {self}: its certificate is not trusted; REQUESTS_CA_BUNDLE names a file with yours"
            ) from error
        except urllib3.exceptions.ProtocolError as error:
            raise TraceQueryError(f"{self} broke off its answer; see its log") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, ValueError, OSError) as error:
            raise TraceQueryError(f"can't reach {self}: {_reason(error)}; check the URL") from error

    def again(self, ask: Callable[[], Result], limit: float = math.inf) -> Result:
        """Call `ask`, and retry errors that may pass, with growing pauses, but not after `limit`."""
        tries = 1
        while True:
            try:
                return ask()
            except _MAY_PASS as error:
                after = error.after if isinstance(error, Busy) else None
                pause = backoff(tries) if after is None else min(after, _LONGEST_WAIT)
                if tries >= _most_tries(error) or time.monotonic() + pause > limit:
                    raise
                _log.info("%s: %s; asked again in %.1f s", self, _failure(error), pause)
                time.sleep(pause)
                tries += 1

    def session(self) -> requests.Session:
        """Return the session with the store; it takes no credentials from elsewhere."""
        if self._session is None:
            session = requests.Session()
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(pool_maxsize=2 * CONCURRENCY))
            # Without this, a line in ~/.netrc would take the place of the credentials that were given.
            session.auth = lambda request: request
            self._session = session  # last, because the first requests may come side by side
        return self._session

    def renewed(self) -> bool:
        """Read the credentials again, if they come from a file."""
        if not os.environ.get(ENV_HEADERS_FILE):
            return False
        self._credentials = self._given()
        return True

    def _given(self) -> dict[str, str]:
        """Return the credentials in the environment, and in the file that it names."""
        return _credentials()

    def _get(self, path: str, params: Mapping[str, Any] | None, accept: str) -> Answer:
        headers = {**self._headers, **self._credentials, "Accept": accept}
        session, limit = self.session(), time.monotonic() + _WHOLE

        def ask() -> Answer:
            return self._fetch(session, self._base + path, params, headers, limit)

        with self.reached():
            # In a thread that can be left behind: a store that sends a byte now and then keeps any time-out waiting.
            return with_timeout(_WHOLE, lambda: self.again(ask, limit))

    def _fetch(
        self,
        session: requests.Session,
        url: str,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        limit: float,
    ) -> Answer:
        """Send one GET, following redirects that stay with the store."""
        for _ in range(_REDIRECTS):
            started = time.monotonic()
            with session.get(
                url, params=params, headers=headers, timeout=_TIMEOUT, stream=True, allow_redirects=False
            ) as response:
                raise_busy(response)
                if not response.is_redirect:
                    body = _body(response, limit)
                    self.log("GET", response, started)
                    return Answer(response.status_code, response.headers.get("Content-Type", ""), body)
                target = urljoin(response.url, response.headers["Location"])
            if not _same_place(url, target):
                elsewhere = excerpt(urlsplit(target).netloc.rpartition("@")[2], 100)
                raise TraceQueryError(
                    f"{self} sends its readers to {elsewhere}, perhaps to log in, and credentials do not go there: "
                    f"give that URL if it is the store's, or credentials in {ENV_HEADERS}"
                )
            url, params = target, None
        raise TraceQueryError(f"{self} redirects endlessly; check the URL")


class Busy(Exception):
    """The store asks to be tried again later, `after` so many seconds if it gives a time."""

    def __init__(self, status: int, after: float | None) -> None:
        super().__init__(f"answered {status}")
        self.after = after


_SLOW = (requests.Timeout, urllib3.exceptions.ReadTimeoutError)
# What may have passed when the same is asked once more; a connection that breaks in mid-answer is a ProtocolError.
_MAY_PASS = (Busy, requests.ConnectionError, urllib3.exceptions.ProtocolError, *_SLOW)


def raise_busy(response: requests.Response) -> None:
    """Raise Busy if the response's status says so."""
    if response.status_code in _BUSY:
        response.close()
        try:
            after = Retry().parse_retry_after(response.headers["Retry-After"])
        except (KeyError, urllib3.exceptions.InvalidHeader):
            after = None
        raise Busy(response.status_code, after)


def backoff(tries: int) -> float:
    """Return the pause after so many tries, seconds: exponential, with random jitter."""
    return 0.3 * float(2 ** (tries - 1)) + random.uniform(0, 0.3)  # noqa: S311 - no secret


def _most_tries(error: Exception) -> int:
    """Return how often a request is tried if it fails with that error."""
    if isinstance(error, requests.exceptions.SSLError):
        return 1
    return 2 if isinstance(error, _SLOW) else TRIES  # a time-out is long


def _body(response: requests.Response, limit: float) -> bytes:
    body = bytearray()
    while chunk := response.raw.read1(2**16, decode_content=True):
        body += chunk
        if len(body) > LARGEST:
            raise AnswerTooLarge(
                f"{excerpt(urlsplit(response.url).netloc)} answered with more than {LARGEST >> 20} MiB at once; "
                "ask for a shorter window"
            )
        if time.monotonic() > limit:
            raise TimeoutError
    return bytes(body)


def _same_place(url: str, target: str) -> bool:
    """Return whether a redirect stays on the same server, or upgrades from HTTP to HTTPS."""
    old, new = urlsplit(url), urlsplit(target)
    try:
        ports = (old.scheme, old.port), (new.scheme, new.port)
    except ValueError:
        return False
    upgraded = ports in {(("http", None), ("https", None)), (("http", 80), ("https", None))}
    return old.hostname == new.hostname and not new.username and (ports[0] == ports[1] or upgraded)


def _failure(error: Exception) -> str:
    """Return why a request is retried, in a few words: the libraries' own messages contain whole URLs."""
    if isinstance(error, Busy):
        return str(error)
    return "no answer in time" if isinstance(error, _SLOW) else "the connection failed"


def _reason(error: Exception) -> str:
    """Return why the store can't be reached, in a few words."""
    if isinstance(error, requests.ConnectionError):
        return "nothing answers there"
    if isinstance(error, requests.exceptions.InvalidURL | UnicodeError):
        return "that is not a URL"
    return "it does not answer in valid HTTP"


def _credentials() -> dict[str, str]:
    headers: dict[str, str] = {}
    for pair in filter(None, os.environ.get(ENV_HEADERS, "").split(",")):
        _add_header(headers, pair, ENV_HEADERS, "key=value,key=value")
    if file := os.environ.get(ENV_HEADERS_FILE):
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise TraceQueryError(f"can't read {excerpt(file)}, which {ENV_HEADERS_FILE} names: {error}") from error
        for line in lines:
            if line.strip() and not line.startswith("#"):
                _add_header(headers, line, excerpt(file), "lines of key=value")
    return headers


def _decoded(text: str) -> str:
    """Return the decoded user and password of basic authentication."""
    try:
        return base64.b64decode(text).decode(errors="replace")
    except ValueError:
        return ""


def _add_header(headers: dict[str, str], pair: str, source: str, form: str) -> None:
    key, separator, value = (part.strip() for part in pair.partition("="))
    if not separator or not key:
        raise TraceQueryError(f"{source} is not {form}")
    check_header(key, value, source)
    headers[key] = value


def check_header(key: str, value: str, source: str) -> None:
    """Raise an error for an invalid header, without showing its value."""
    if not (key.isascii() and value.isascii() and (key + value).isprintable()) or set(key) & set(' :"(),/;<=>?@[]{}'):
        raise TraceQueryError(f"{source} holds a header that can't be sent: only visible ASCII characters can")
