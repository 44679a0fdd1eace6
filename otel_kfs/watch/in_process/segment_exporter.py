"""An exporter and a processor by which a process keeps its own spans, and has their tables at once.

For a program in which whole traces are: a test, a notebook, a pipeline in one process.

    provider.add_span_processor(segments := otel_kfs.SegmentProcessor())
    ...
    segments.segment("encode").p50   # seconds
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_kfs.watch.in_process.kept_spans import KeptSpans

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace import Span as SdkSpan


class SegmentExporter(KeptSpans, SpanExporter):
    """Keeps what a span processor of the SDK hands on, such as a BatchSpanProcessor."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep some spans that have ended."""
        for span in spans:
            self._ended(span)
        return SpanExportResult.SUCCESS


class SegmentProcessor(KeptSpans, SpanProcessor):
    """Keeps every sampled span of a provider as it ends, and knows which have not ended."""

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's
        """Take note of a span that has begun."""
        self._began(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span, if it was sampled."""
        self._ended(span)
