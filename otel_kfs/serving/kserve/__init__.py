"""KServe's servers, FastAPI and gRPC: a model's steps, and the context to the predictor."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.trace import TracerProvider

from otel_kfs.serving.imports import when_imported
from otel_kfs.serving.kserve import grpc_server, rest_server
from otel_kfs.serving.model_spans import role_of, trace_steps, untrace_all, use_provider
from otel_kfs.serving.server_errors import guard_propagator, never_raises
from otel_kfs.telemetry import provider as telemetry_provider
from otel_kfs.telemetry.patches import Patches

_servers = Patches()  # what makes requests spans
_registry = Patches()  # what makes models traced when a server gets them
_workers = Patches()  # the same in a worker process, for models that were traced before it began

_FOR_WORKERS = "__otel_kfs_for_workers__"


def trace(model: Any, role: str | None = None) -> None:
    """Trace one kserve.Model, and all requests of this process's ModelServer and of its worker processes."""
    _trace(model, role)
    setattr(model, _FOR_WORKERS, _ForWorkers(role))


def _trace(model: Any, role: str | None = None) -> None:
    _instrument_servers()
    trace_steps(model, lambda: role or role_of(_has_predictor()))


class _ForWorkers:
    """Travels with a pickled model to KServe's worker processes, new interpreters that know nothing else of tracing."""

    def __init__(self, role: str | None) -> None:
        self.role = role

    def __reduce__(self) -> Any:
        return _in_worker, (self.role, telemetry_provider.configured)


@never_raises("a worker process")
def _in_worker(role: str | None, configured: tuple[str | None, str | None] | None) -> _ForWorkers:
    """Where a model is unpickled: set the process up as its parent was, and trace the model once a server has it."""
    from kserve.protocol.rest.server import RESTServer

    if configured is not None:
        telemetry_provider.configure(configured[0], traces_file=configured[1])
    if not _workers.active:
        original = RESTServer.create_application

        def create_application(server: Any) -> Any:
            for model in server.dataplane.model_registry.get_models().values():
                if isinstance(told := vars(model).get(_FOR_WORKERS), _ForWorkers):
                    never_raises("a model")(_trace)(model, told.role)
            return original(server)

        _workers.set(RESTServer, "create_application", functools.wraps(original)(create_application))
    return _ForWorkers(role)


class KServeInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """`instrument()` traces every model that a ModelServer is given from then on; `uninstrument()` undoes all tracing.

    `instrument` takes a `tracer_provider`; without, the global one counts. Nothing is imported that the program does
    not import itself: KServe is changed when it is there.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """The library that is traced."""
        return ("kserve >= 0.21.0, < 1.0.0",)

    def _instrument(self, **kwargs: Any) -> None:
        self._provider = kwargs.get("tracer_provider")
        self._wanted = True
        when_imported("kserve", self._begin)

    @never_raises("KServe's models")
    def _begin(self) -> None:
        if not self._wanted or _registry.active:
            return
        from kserve import Model
        from kserve.model_repository import ModelRepository
        from kserve.protocol.rest.server import RESTServer

        if self._provider is not None:
            _servers.undo()  # what `trace_model` had turned on, for the global provider
        _instrument_servers(self._provider)

        @never_raises("a model")
        def trace_inference(model: Any) -> None:
            if isinstance(model, Model):  # others have no steps: those of the OpenAI protocol
                _trace(model)

        def update(repository: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            trace_inference(model)
            return original_update(repository, model, *args, **kwargs)

        def create_application(server: Any) -> Any:
            # A worker process gets its models ready-made.
            for model in server.dataplane.model_registry.get_models().values():
                trace_inference(model)
            return original_create(server)

        original_update, original_create = ModelRepository.update, RESTServer.create_application
        _registry.set(ModelRepository, "update", functools.wraps(original_update)(update))
        _registry.set(RESTServer, "create_application", functools.wraps(original_create)(create_application))

    def uninstrument(self, **kwargs: Any) -> None:
        """Take back all tracing, also that of `trace_model` in a program that instrumented nothing."""
        if _servers.active and not self.is_instrumented_by_opentelemetry:
            self._uninstrument(**kwargs)
        else:
            super().uninstrument(**kwargs)

    def _uninstrument(self, **_: Any) -> None:
        self._wanted = False
        _workers.undo()
        _registry.undo()
        _servers.undo()
        for model in untrace_all():
            vars(model).pop(_FOR_WORKERS, None)


def _has_predictor() -> bool:
    from kserve.context import get_predictor_config

    config = get_predictor_config()
    return config is not None and bool(config.predictor_host)


def _instrument_servers(provider: TracerProvider | None = None) -> None:
    if not _servers.active:
        rest_server.instrument(_servers, provider)
        grpc_server.instrument(_servers)
        use_provider(provider)
        _servers.on_undo(lambda: use_provider(None))
        _servers.on_undo(guard_propagator())
