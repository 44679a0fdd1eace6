"""What the instrumentors of both serving SDKs share: when they change the SDK, and how they take it back."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import wrapt
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from otel_kfs.serving.model_spans import untrace_all
from otel_kfs.serving.server_errors import never_raises
from otel_kfs.telemetry.patches import Patches
from otel_kfs.telemetry.patching_instrumentor import PatchingInstrumentor


class ServerInstrumentor(PatchingInstrumentor):
    """`instrument()` traces every model that a server is given from then on; `uninstrument()` undoes all tracing.

    `instrument` takes a `tracer_provider` and a `meter_provider`; without, the global ones count. Nothing is imported
    that the program does not import itself: the SDK is changed when it is there.
    """

    library: str
    requests: Patches  # what makes requests spans, on behalf of `trace_model` too
    _patches = Patches()

    @abstractmethod
    def trace_requests(self, tracers: TracerProvider | None, meters: MeterProvider | None) -> None:
        """Make requests spans, unless they are."""

    @abstractmethod
    def trace_models(self, patches: Patches) -> None:
        """Trace every model that a server is given from now on."""

    def patch(
        self,
        patches: Patches,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        **_: Any,
    ) -> None:
        """Change the SDK once the program has imported it, unless `uninstrument` comes first."""
        wanted = [True]
        patches.on_undo(wanted.clear)

        @never_raises("the models of a server")
        def begin(_: Any) -> None:
            if wanted:
                if tracer_provider is not None or meter_provider is not None:
                    self.requests.undo()  # what `trace_model` had turned on, for the global providers
                self.trace_requests(tracer_provider, meter_provider)
                self.trace_models(patches)

        wrapt.register_post_import_hook(begin, self.library)

    def uninstrument(self, **kwargs: Any) -> None:
        """Take back all tracing, also that of `trace_model` in a program that instrumented nothing."""
        if self.requests.active and not self.is_instrumented_by_opentelemetry:
            self._uninstrument(**kwargs)
        else:
            super().uninstrument(**kwargs)

    def _uninstrument(self, **kwargs: Any) -> None:
        super()._uninstrument(**kwargs)
        self.requests.undo()
        untrace_all()
