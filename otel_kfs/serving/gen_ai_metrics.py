"""The metrics of generative AI that a model server has, by OpenTelemetry's semantic conventions.

A model's call is the operation that the conventions' `gen_ai.client` metrics measure: the server is what calls the
model. The `gen_ai.server` metrics are the model server's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.metrics import MeterProvider, get_meter

from otel_kfs import __version__, semconv
from otel_kfs.telemetry.meter_watch import MeterWatch
from otel_kfs.telemetry.provider import SCHEMA_URL

OPERATION_DURATION: Final = "gen_ai.client.operation.duration"  # s
TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"  # s, this and the next where it is streamed
TIME_PER_OUTPUT_CHUNK: Final = "gen_ai.client.operation.time_per_output_chunk"  # s
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - {token}
REQUEST_DURATION: Final = "gen_ai.server.request.duration"  # s
TIME_TO_FIRST_TOKEN: Final = "gen_ai.server.time_to_first_token"  # noqa: S105 - s
TIME_PER_OUTPUT_TOKEN: Final = "gen_ai.server.time_per_output_token"  # noqa: S105 - s, where the tokens are counted

# Seconds and tokens; the conventions ask for these bounds.
_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_NEXT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(4**power for power in range(14))

Attributes = Mapping[str, Any]


class GenAIMetrics:
    """The instruments; ask `enabled` first, so that nothing is computed where nobody listens."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self.use(provider)

    def use(self, provider: MeterProvider | None) -> None:
        """Record with this provider's instruments from now on; None: with the global one's."""
        self._watch = MeterWatch(provider)
        meter = get_meter("otel_kfs", __version__, provider, SCHEMA_URL)

        def histogram(name: str, unit: str, description: str, bounds: tuple[float, ...]) -> Any:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)

        self._operation = histogram(OPERATION_DURATION, "s", "GenAI operation duration.", _DURATION)
        self._request = histogram(REQUEST_DURATION, "s", "Time to the last piece of a request's answer.", _DURATION)
        self._first_chunk = histogram(TIME_TO_FIRST_CHUNK, "s", "Time to the first chunk of a stream.", _FIRST)
        self._first_token = histogram(TIME_TO_FIRST_TOKEN, "s", "Time to the first token of a stream.", _FIRST)
        self.next_chunk = histogram(TIME_PER_OUTPUT_CHUNK, "s", "Time from one chunk to the next.", _NEXT)
        self._next_token = histogram(TIME_PER_OUTPUT_TOKEN, "s", "Time per token after the first one.", _NEXT)
        self._tokens = histogram(TOKEN_USAGE, "{token}", "Number of input and output tokens used.", _TOKENS)

    @property
    def enabled(self) -> bool:
        """Whether a meter provider is set."""
        return self._watch.enabled

    def first_chunk(self, seconds: float, attributes: Attributes) -> None:
        """Record the time to the first piece of a streamed answer."""
        self._first_chunk.record(seconds, attributes)
        self._first_token.record(seconds, attributes)

    def done(self, seconds: float, attributes: Attributes, error_type: str | None) -> None:
        """Record how long a call took, and how it failed if it did."""
        failed = {} if error_type is None else {semconv.ERROR_TYPE: error_type}
        self._operation.record(seconds, {**attributes, **failed})
        self._request.record(seconds, {**attributes, **failed})

    def tokens(self, incoming: int | None, outgoing: int | None, attributes: Attributes) -> None:
        """Record the tokens that a call used, as far as its answer tells."""
        for kind, count in (("input", incoming), ("output", outgoing)):
            if count is not None:
                self._tokens.record(count, {**attributes, semconv.GEN_AI_TOKEN_TYPE: kind})

    def per_token(self, seconds: float, tokens: int, attributes: Attributes) -> None:
        """Record the time per token after the first, of a stream that took so long after its first piece."""
        if tokens > 1:
            self._next_token.record(seconds / (tokens - 1), attributes)
