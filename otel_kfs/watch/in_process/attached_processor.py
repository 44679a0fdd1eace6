"""A SegmentProcessor on the process's own tracer provider, for as long as its spans are wanted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otel_kfs.errors import ConfigError
from otel_kfs.watch.in_process.segment_exporter import SegmentProcessor

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span


class _Switch(SpanProcessor):
    """Hands spans on to the current listener, because a provider can't remove a processor."""

    def __init__(self) -> None:
        self.listeners: tuple[SegmentProcessor, ...] = ()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        for one in self.listeners:
            one.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        for one in self.listeners:
            one.on_end(span)


_lock = threading.Lock()
_switches: WeakKeyDictionary[TracerProvider, _Switch] = WeakKeyDictionary()


@contextmanager
def attached_processor() -> Iterator[SegmentProcessor]:
    """Keep the spans that end within the block, of the process's tracer provider; set one where there is none.

    Raises:
        ConfigError: the provider that is set is not OpenTelemetry's SDK's.
    """
    switch, segments = _switch(), SegmentProcessor()
    with _lock:
        switch.listeners += (segments,)
    try:
        yield segments
    finally:
        with _lock:
            switch.listeners = tuple(one for one in switch.listeners if one is not segments)


def _switch() -> _Switch:
    with _lock:
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            provider = TracerProvider()
            trace.set_tracer_provider(provider)
        if not isinstance(provider, TracerProvider):
            raise ConfigError(
                f"{type(provider).__qualname__}, the tracer provider that is set, takes no span processor"
            )
        if provider not in _switches:
            _switches[provider] = _Switch()
            provider.add_span_processor(_switches[provider])
        return _switches[provider]
