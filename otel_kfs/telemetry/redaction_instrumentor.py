"""Takes secrets out of the spans of programs that set up OpenTelemetry by themselves, where their exporters get them.

The entry point of this module is what `opentelemetry-instrument python app.py` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import wrapt
from opentelemetry import trace
from opentelemetry.instrumentation.utils import unwrap
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_kfs.telemetry.patches import Patches
from otel_kfs.telemetry.patching_instrumentor import PatchingInstrumentor
from otel_kfs.telemetry.provider import report_failure
from otel_kfs.telemetry.redaction import without_secrets

_WHAT = "taking secrets out of spans"


class RedactionInstrumentor(PatchingInstrumentor):
    """`RedactionInstrumentor().instrument()` does for any provider what `otel_kfs.configure` does for its own.

    `instrument` takes a `tracer_provider`; without, the global one counts. Its exporters are given spans without
    secrets, in their own thread, and so are those that are added to any provider of the SDK later. Processors without
    a `span_exporter`, as all of the SDK have it, stay as they are. `uninstrument()` undoes it.
    """

    def patch(self, patches: Patches, *, tracer_provider: Any = None, **_: Any) -> None:
        """Wrap the exporters that are there, and those that are added."""
        self._exporters: list[SpanExporter] = []
        provider = tracer_provider or trace.get_tracer_provider()
        with _reported():
            if isinstance(provider, TracerProvider):
                self._look_at(provider._active_span_processor, patches)
            wrapt.wrap_function_wrapper(TracerProvider, "add_span_processor", partial(self._added, patches))
            patches.on_undo(partial(unwrap, TracerProvider, "add_span_processor"))

    def _added(
        self, patches: Patches, add: Callable[..., None], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        with _reported():
            for processor in (*args, *kwargs.values()):
                self._look_at(processor, patches)
        add(*args, **kwargs)

    def _look_at(self, processor: Any, patches: Patches) -> None:
        """Have the exporters of a processor, or of those that it holds, get nothing but spans without secrets."""
        for one in getattr(processor, "_span_processors", ()):
            self._look_at(one, patches)
        exporter = getattr(processor, "span_exporter", None)
        if exporter is not None and not any(exporter is known for known in self._exporters):
            wrapt.wrap_function_wrapper(exporter, "export", _redacted)
            patches.on_undo(partial(unwrap, exporter, "export"))
            self._exporters.append(exporter)


@contextmanager
def _reported() -> Iterator[None]:
    """Log whatever fails here, and let the program go on."""
    try:
        yield
    except Exception:  # noqa: BLE001
        report_failure(_WHAT)


def _redacted(
    export: Callable[..., SpanExportResult], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> SpanExportResult:
    """Export one batch; should a span be beyond redaction, the batch is lost rather than its secrets told."""
    spans, *others = args or (kwargs.pop("spans"),)
    clean = None
    with _reported():
        clean = [without_secrets(span) for span in spans]
    return SpanExportResult.FAILURE if clean is None else export(clean, *others, **kwargs)
