"""Parts of OpenTelemetry that fail, whatever they are asked."""

from __future__ import annotations

from typing import Any, NoReturn

from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler


class Broken(Exception):
    """What they fail with."""


def fail(*_: Any, **__: Any) -> NoReturn:
    """Take any arguments, and fail."""
    raise Broken


class BrokenSampler(Sampler):
    should_sample = fail

    def get_description(self) -> str:
        return "broken"


class BrokenPropagator(TextMapPropagator):
    extract = inject = fail
    fields = frozenset({"traceparent"})  # type: ignore[assignment]


class BrokenFields(BrokenPropagator):
    fields = property(fail)  # type: ignore[assignment]


def processor(**methods: Any) -> SpanProcessor:
    """Return a span processor with these methods."""
    return type("BrokenProcessor", (SpanProcessor,), methods)()
