"""KServe's worker processes, traced: new interpreters that are handed a pickled server with its models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otel_kfs.serving.model_spans import is_traced
from otel_kfs.serving.server_errors import never_raises
from otel_kfs.telemetry import provider as telemetry_provider
from otel_kfs.telemetry.patches import Patches, bound_arguments

Trace = Callable[[Any], None]


def instrument(patches: Patches, trace: Trace) -> None:
    """Trace the models of each worker process that begins from now on, if they are traced here."""
    from kserve.protocol.rest.multiprocess.server import RESTServerProcess

    def init(original: Callable[..., None], _: Any, args: Any, kwargs: Any) -> None:
        given = bound_arguments(original, args, kwargs)
        given.arguments["target"] = _TracedRun(given.arguments["target"], trace)
        original(*given.args, **given.kwargs)

    patches.wrap(RESTServerProcess, "__init__", init)


class _TracedRun:
    """`RESTServer.run` in a worker process, which first sets itself up to trace as its parent does."""

    def __init__(self, run: Callable[..., Any], trace: Trace) -> None:
        self._run = run
        self._trace = trace
        self._configured = telemetry_provider.configured

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._begin()
        return self._run(*args, **kwargs)

    @never_raises("a worker process")
    def _begin(self) -> None:
        if self._configured is not None:
            telemetry_provider.configure(self._configured[0], traces_file=self._configured[1])
        server: Any = getattr(self._run, "__self__", None)
        for model in server.dataplane.model_registry.get_models().values():
            if is_traced(model):
                self._trace(model)
