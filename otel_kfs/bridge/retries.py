"""When a request is worth another try, and how long to wait for it."""

from __future__ import annotations

import email.utils
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
from opentelemetry import trace
from requests.adapters import BaseAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_any, stop_before_delay
from tenacity.wait import wait_base, wait_random_exponential

from otel_kfs import semconv
from otel_kfs.client.outage_log import OutageLog
from otel_kfs.errors import SendError

T = TypeVar("T")

# Before the first retry up to the one, then twice as long each time, up to the other: a random part of that, so that
# bridges whose model was down do not come back all at once.
_FIRST_SECONDS = 0.5
_LONGEST_SECONDS = 30.0

# Statuses below 500 by which a server asks for another try: request time-out, too early, too many requests.
_RETRYABLE = {408, 425, 429}


class Abandoned(Exception):
    """The bridge returns the record uncommitted instead of waiting for another try."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long to retry: at most `retries` times after the first request, within `seconds` of it."""

    retries: int = 5
    seconds: float = 60.0


def is_refusal(error: SendError) -> bool:
    """Tell whether the server calls the record at fault: the same request would be answered the same way.

    A redirect does not: it says that the URL is wrong.
    """
    status = error.status
    return status is not None and status < 500 and status not in _RETRYABLE and not 300 <= status < 400


class Retrier:
    """The requests of one worker: counts those of one record, and keeps what a server says of when to try again."""

    def __init__(self, session: requests.Session, outages: OutageLog) -> None:
        self.requests = 0
        self.retry_after: str | None = None
        self._outages = outages
        for prefix, adapter in list(session.adapters.items()):
            session.mount(prefix, _ObservedAdapter(adapter, self))

    def call(self, request: Callable[[], T], policy: RetryPolicy, stopped: Callable[[float], bool]) -> T:
        """Return what `request` returns at last; between two tries `stopped(seconds)` waits, and tells if it is over.

        Raises:
            SendError: the last one, of a refusal, or when a limit is reached.
            Abandoned: `stopped` said so.
        """
        self.requests, begun = 0, time.monotonic()

        def counted() -> T:
            self.requests += 1
            self.retry_after = None
            return request()

        try:
            return counted()  # as most are answered: tenacity would take as long as a span does
        except SendError as error:
            if is_refusal(error):
                raise
            failed = [error]

        def again() -> T:
            if failed:
                raise failed.pop()
            return counted()

        def sleep(seconds: float) -> None:
            if stopped(seconds):
                raise Abandoned(
                    f"returned uncommitted after {self.requests} requests: the bridge is stopping or rebalancing"
                )

        left = policy.seconds - (time.monotonic() - begun)
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, SendError) and not is_refusal(error)),
            wait=_Wait(self),
            stop=stop_any(stop_after_attempt(policy.retries + 1), stop_before_delay(left)),
            before_sleep=lambda state: self._outages.report(str(state.outcome and state.outcome.exception())),
            sleep=sleep,
            reraise=True,
        )
        return retrying(again)


class _Wait(wait_base):
    """Exponential back-off with jitter, and not before the moment that the server names in Retry-After."""

    def __init__(self, retrier: Retrier) -> None:
        self._retrier = retrier
        self._backoff = wait_random_exponential(multiplier=_FIRST_SECONDS, max=_LONGEST_SECONDS)

    def __call__(self, retry_state: RetryCallState) -> float:
        return self._backoff(retry_state) + retry_after_seconds(self._retrier.retry_after)


def retry_after_seconds(header: str | None) -> float:
    """Read a Retry-After header: a number of seconds, or a date; 0 where it is neither. RFC 9110, 10.2.3."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    return 0.0


class _ObservedAdapter(BaseAdapter):
    """A session's transport; here the request's own CLIENT span is the current one."""

    def __init__(self, adapter: BaseAdapter, retrier: Retrier) -> None:
        super().__init__()
        self._adapter = adapter
        self._retrier = retrier

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        if self._retrier.requests > 1:
            trace.get_current_span().set_attribute(semconv.HTTP_REQUEST_RESEND_COUNT, self._retrier.requests - 1)
        response = self._adapter.send(request, *args, **kwargs)
        self._retrier.retry_after = response.headers.get("Retry-After")
        return response

    def close(self) -> None:
        self._adapter.close()


def wait_for_any(*events: threading.Event) -> Callable[[float], bool]:
    """Return a wait for seconds that tells whether one of the events is set; it looks at them often enough."""

    def wait(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        first, *others = events
        while not any(event.is_set() for event in events):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            first.wait(min(left, 0.1) if others else left)
        return True

    return wait
