"""Sets a process up to trace: one provider, one exporter (OTLP, or a file of OTLP-JSON lines), flushed on the way out.

A forked child exports by itself, under its own process id.

Under `opentelemetry-instrument`, or wherever a provider is already set, nothing here is needed and `configure` leaves
what it finds.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast
from urllib.parse import urlsplit

from opentelemetry import trace

from otel_kfs import __version__, semconv
from otel_kfs.errors import ConfigError
from otel_kfs.telemetry import sigterm
from otel_kfs.telemetry.safe_tracer import SafeTracerProvider, guard_propagator, report_failure

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from otel_kfs.telemetry.exporter import CountingExporter

__all__ = ["SCHEMA_URL", "configure", "flush", "instrument_requests", "report_failure", "tracer", "tracer_of"]

_log = logging.getLogger(__name__)

# Files are read back while the process still runs (the demo waits for its servers' last span), so a batch is written
# sooner than the 5 s that suit a network.
_FILE_DELAY_MILLIS = 200

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"  # the conventions that our spans' attributes follow

# What `configure` was called with, for worker processes that begin with nothing but what they are handed.
configured: tuple[str | None, str | None] | None = None


@functools.cache
def tracer() -> trace.Tracer:
    """Return the tracer of every span that otel-kfs makes, whose provider may be set later. Never raises."""
    return tracer_of(None)


def tracer_of(provider: trace.TracerProvider | None) -> trace.Tracer:
    """Return the same, of another provider than the global one."""
    return SafeTracerProvider(provider).get_tracer("otel_kfs", __version__, schema_url=SCHEMA_URL)


def configure(service_name: str | None = None, *, traces_file: str | os.PathLike[str] | None = None) -> None:
    """Make this process export its spans; call it once, at its start.

    `service_name` is the name to search for in Jaeger; `OTEL_SERVICE_NAME` goes before it. With `traces_file` (or
    `OTEL_KFS_TRACES_FILE`) spans are appended to that file as OTLP-JSON lines, also by several processes at a time;
    without, the exporter is what the standard `OTEL_TRACES_EXPORTER` and `OTEL_EXPORTER_OTLP_*` variables say; with
    both, spans go both ways. Calls by `requests` are traced too.

    Spans still in memory are written when the interpreter exits and on SIGTERM (unless the program handles SIGTERM
    itself), in 10 s at most; how many could not be exported is logged then, in one line. SIGTERM then ends the process
    as it does without this. A process that is forked afterwards does the same for its own spans. Where a provider is
    already set, that provider stays.

    Raises:
        ConfigError: an exporter is not known, or the file can't be written.
    """
    from opentelemetry.sdk.trace import TracerProvider

    global configured  # noqa: PLW0603 - a process is set up once
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        _log.debug("a tracer provider is already set: leaving it as it is")
    else:
        provider = _provider(service_name, traces_file or os.environ.get(semconv.ENV_TRACES_FILE))
        trace.set_tracer_provider(provider)
        configured = service_name, None if traces_file is None else os.path.abspath(traces_file)
        # Registered by us, so that the exporter's own exit hooks, registered earlier, run after it.
        sigterm.at_end(provider.shutdown)
        os.register_at_fork(after_in_child=functools.partial(_forked, provider))
        sigterm.handle_sigterm(provider.force_flush)
    instrument_requests()


def flush(timeout_seconds: float = 10.0) -> bool:
    """Export what is in memory now; False if it did not all leave in time."""
    force_flush: Callable[[int], bool] | None = getattr(trace.get_tracer_provider(), "force_flush", None)
    if force_flush is None:
        return True
    done: list[bool] = []
    # In a thread of its own, because the SDK's processors do not look at the time that they are given.
    thread = threading.Thread(target=lambda: done.append(force_flush(int(timeout_seconds * 1000))), daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    return done == [True]


def instrument_requests() -> None:
    """Give every call by `requests` its CLIENT span, once, unless somebody already did."""
    from opentelemetry.instrumentation.requests import RequestsInstrumentor

    guard_propagator()
    instrumentor = RequestsInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(tracer_provider=SafeTracerProvider())


def _provider(service_name: str | None, traces_file: str | os.PathLike[str] | None) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from otel_kfs.telemetry.exporter import CountingBatchProcessor

    attributes: dict[str, str | int] = {semconv.HOST_NAME: os.uname().nodename, semconv.PROCESS_PID: os.getpid()}
    if service_name and not os.environ.get("OTEL_SERVICE_NAME"):
        attributes[semconv.SERVICE_NAME] = service_name
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    if traces_file:
        provider.add_span_processor(CountingBatchProcessor(_file_export(Path(traces_file)), _FILE_DELAY_MILLIS))
    if not traces_file or os.environ.get("OTEL_TRACES_EXPORTER"):
        for export in _environment_exports():
            provider.add_span_processor(CountingBatchProcessor(export))
    return provider


def _forked(provider: TracerProvider) -> None:
    """Have the last spans of a child of multiprocessing leave: it ends without the interpreter's exit hooks."""
    try:
        if (multiprocessing := sys.modules.get("multiprocessing.util")) is not None:
            last = functools.partial(sigterm.finish, [provider.shutdown])
            multiprocessing.register_after_fork(
                provider, lambda _: multiprocessing.Finalize(None, last, exitpriority=-100)
            )
    except Exception:  # noqa: BLE001 - the child goes on
        report_failure("a forked process")


def _file_export(path: Path) -> CountingExporter:
    from opentelemetry.exporter.otlp.json.file import FileSpanExporter

    from otel_kfs.telemetry.exporter import CountingExporter
    from otel_kfs.telemetry.traces_file import TracesFile

    try:
        return CountingExporter(lambda: FileSpanExporter(stream=cast("IO[str]", TracesFile(path))), str(path))
    except OSError as error:
        raise ConfigError(f"can't write traces to {path}: {error.strerror}; choose another --traces-file") from error


def _environment_exports() -> list[CountingExporter]:
    """Return the exporters that OTEL_TRACES_EXPORTER names, as the SDK's own auto-configuration chooses them."""
    from otel_kfs.telemetry.exporter import CountingExporter

    exports = []
    for name in filter(None, map(str.strip, os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(","))):
        if name == "none":
            continue
        entry, where = name, ""
        if name == "otlp":
            is_grpc = (_otlp_setting("PROTOCOL") or "http/protobuf") == "grpc"
            entry = "otlp_proto_grpc" if is_grpc else "otlp_proto_http"
            where = _otlp_endpoint(is_grpc)
        found = list(entry_points(group="opentelemetry_traces_exporter", name=entry))
        if not found:
            raise ConfigError(f"OTEL_TRACES_EXPORTER={name!r} is not known here; use otlp, console or none")
        exports.append(CountingExporter(found[0].load(), where))
    return exports


def _otlp_setting(name: str) -> str | None:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")


def _otlp_endpoint(is_grpc: bool) -> str:
    """Return where spans go by the standard variables, for people: without the credentials that a URL may hold."""
    endpoint = _otlp_setting("ENDPOINT") or f"http://localhost:{4317 if is_grpc else 4318}"
    scheme, separator, rest = endpoint.rpartition("://")
    parts = urlsplit("//" + rest)
    path = parts.path
    if not is_grpc and not os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        path = path.rstrip("/") + "/v1/traces"
    return f"{scheme}{separator}{parts.netloc.rpartition('@')[2]}{path}"
