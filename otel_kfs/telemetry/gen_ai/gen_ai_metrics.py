"""The metrics of calls of generative AI models, by OpenTelemetry's semantic conventions.

`gen_ai.client` metrics are of whoever calls a model: a sender, and a model server, which calls the model that it holds.
`gen_ai.server` metrics are a model server's own.

One record of the SDK's takes about 10 us, and of a streamed answer there is one for each piece. So while it is streamed
only the time of a piece is kept, and what is to be recorded is recorded when it has ended, by a thread of its own.

Source: the conventions as `opentelemetry-semantic-conventions` 0.66b1 publishes them, and for bounds and attributes
"Generative AI client metrics" and "Generative AI model server metrics".
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider, get_meter

from otel_kfs import __version__, semconv
from otel_kfs.telemetry.meter_watch import MeterWatch
from otel_kfs.telemetry.provider import SCHEMA_URL
from otel_kfs.telemetry.safe_tracer import never_raises

OPERATION_DURATION: Final = "gen_ai.client.operation.duration"  # s
TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"  # s, this and the next where it is streamed
TIME_PER_OUTPUT_CHUNK: Final = "gen_ai.client.operation.time_per_output_chunk"  # s
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - {token}
REQUEST_DURATION: Final = "gen_ai.server.request.duration"  # s
TIME_TO_FIRST_TOKEN: Final = "gen_ai.server.time_to_first_token"  # noqa: S105 - s
TIME_PER_OUTPUT_TOKEN: Final = "gen_ai.server.time_per_output_token"  # noqa: S105 - s, where the tokens are counted

# Seconds and tokens; the conventions ask for these bounds.
_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_NEXT_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(4**power for power in range(14))

_WAITING_CALLS = 1_000  # at most; a further one is recorded where its answer ends
_RECORDS_AT_A_TIME = 50  # about half a millisecond, for which the thread keeps others from running

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class GenAICall:
    """What one call is measured by: its duration, the tokens that it used, when each piece of its answer was there."""

    attributes: Attributes  # the operation, the provider, the model that was asked for and the one that answered
    context: Context  # with the call's span, which an exemplar leads to
    start: int  # this and `end`, as the pieces' times, in ns since the epoch
    end: int
    error_type: str | None = None  # of what it failed, if it did
    input_tokens: int | None = None  # this and the next where the answer tells
    output_tokens: int | None = None
    pieces: Sequence[int] = ()  # of a streamed answer, in their order


class GenAIMetrics:
    """The instruments; ask `enabled` first, so that nothing is computed without a reader."""

    def __init__(self, provider: MeterProvider | None = None, *, of_server: bool = False) -> None:
        """Create the instruments; with `of_server` those of a model server, too."""
        self._of_server = of_server
        self.use(provider)

    def use(self, provider: MeterProvider | None) -> None:
        """Record with this provider's instruments from now on; None: with the global one's."""
        self._watch = MeterWatch(provider)
        meter = get_meter("otel_kfs", __version__, provider, SCHEMA_URL)

        def histogram(name: str, unit: str, description: str, bounds: tuple[float, ...]) -> Any:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)

        self._duration = histogram(OPERATION_DURATION, "s", "GenAI operation duration.", _DURATION)
        self._first_chunk = histogram(TIME_TO_FIRST_CHUNK, "s", "Time to the first chunk of a stream.", _DURATION)
        self._next_chunk = histogram(TIME_PER_OUTPUT_CHUNK, "s", "Time from one chunk to the next.", _DURATION)
        self._tokens = histogram(TOKEN_USAGE, "{token}", "Number of input and output tokens used.", _TOKENS)
        if self._of_server:
            self._request = histogram(REQUEST_DURATION, "s", "Time to the last piece of a request's answer.", _DURATION)
            self._first_token = histogram(
                TIME_TO_FIRST_TOKEN, "s", "Time to the first token of a stream.", _FIRST_TOKEN
            )
            self._next_token = histogram(TIME_PER_OUTPUT_TOKEN, "s", "Time per token after the first one.", _NEXT_TOKEN)

    @property
    def enabled(self) -> bool:
        """Whether a meter provider is set."""
        return self._watch.enabled

    def record(self, call: GenAICall) -> None:
        """Record a call: at once if its answer came whole, else soon, in another thread. Never raises."""
        if call.pieces:
            _recorder.submit(self, call)
        else:
            self.record_now(call)

    @never_raises("the metrics of a call")
    def record_now(self, call: GenAICall) -> None:
        """Record a call in this thread."""
        failed = {} if call.error_type is None else {semconv.ERROR_TYPE: call.error_type}
        seconds = _seconds(call.start, call.end)
        self._duration.record(seconds, {**call.attributes, **failed}, call.context)
        if self._of_server:
            self._request.record(seconds, {**call.attributes, **failed}, call.context)
        for kind, count in (("input", call.input_tokens), ("output", call.output_tokens)):
            if count is not None:
                self._tokens.record(count, {**call.attributes, semconv.GEN_AI_TOKEN_TYPE: kind}, call.context)
        if call.pieces:
            self._record_pieces(call)

    def _record_pieces(self, call: GenAICall) -> None:
        first, last = call.pieces[0], call.pieces[-1]
        self._first_chunk.record(_seconds(call.start, first), call.attributes, call.context)
        if self._of_server:
            self._first_token.record(_seconds(call.start, first), call.attributes, call.context)
            if call.error_type is None and call.output_tokens is not None and call.output_tokens > 1:
                per_token = _seconds(first, last) / (call.output_tokens - 1)
                self._next_token.record(per_token, call.attributes, call.context)
        for number, (before, piece) in enumerate(itertools.pairwise(call.pieces), 1):
            self._next_chunk.record(_seconds(before, piece), call.attributes, call.context)
            if number % _RECORDS_AT_A_TIME == 0:
                time.sleep(0)


def _seconds(start: int, end: int) -> float:
    """Return the seconds between two moments in ns; none if the clock was set back in between."""
    return max(0, end - start) / 1e9


class _Recorder:
    """The thread that records streamed answers; the interpreter's exit waits until it has nothing left to do."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "otel_kfs_gen_ai_metrics")
        self._places = BoundedSemaphore(_WAITING_CALLS)

    def submit(self, metrics: GenAIMetrics, call: GenAICall) -> None:
        """Record a call soon; here and now where there are too many already, or no thread may begin any more."""
        if not self._places.acquire(blocking=False):
            metrics.record_now(call)
            return
        try:
            self._thread.submit(self._record, metrics, call)
        except RuntimeError:
            self._record(metrics, call)

    def _record(self, metrics: GenAIMetrics, call: GenAICall) -> None:
        metrics.record_now(call)
        self._places.release()

    def flush(self) -> None:
        """Wait until all is recorded that was submitted before."""
        self._thread.submit(int).result()


_recorder = _Recorder()


def flush() -> None:
    """Wait until the calls that have ended are recorded."""
    _recorder.flush()


def _forget_in_child() -> None:
    """Begin anew in a forked child, which has no thread of its parent's."""
    global _recorder  # noqa: PLW0603 - a process has one
    _recorder = _Recorder()


os.register_at_fork(after_in_child=_forget_in_child)
