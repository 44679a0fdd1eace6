"""Sets a process up to trace: one provider, one exporter (OTLP, or a file of OTLP-JSON lines), flushed on the way out.

Under `opentelemetry-instrument`, or wherever a provider is already set, nothing here is needed and `configure` leaves
what it finds.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry import trace

from otel_kfs import names
from otel_kfs.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger(__name__)

# Files are read back while the process still runs (the demo waits for its servers' last span), so a batch is written
# sooner than the 5 s that suit a network.
_FILE_DELAY_MILLIS = 200

_failed: set[str] = set()


@functools.cache
def tracer() -> trace.Tracer:
    """The tracer of every span that otel-kfs makes; its provider may be set before or after this call."""
    return trace.get_tracer("otel_kfs")


def configure(service_name: str | None = None, *, traces_file: str | os.PathLike[str] | None = None) -> None:
    """Make this process export its spans; call it once, at its start.

    `service_name` is the name to search for in Jaeger; `OTEL_SERVICE_NAME` goes before it. With `traces_file` (or
    `OTEL_KFS_TRACES_FILE`) spans are appended to that file as OTLP-JSON lines; without, the exporter is what the
    standard `OTEL_TRACES_EXPORTER` and `OTEL_EXPORTER_OTLP_*` variables say; with both, spans go both ways. Calls by
    `requests` are traced too.

    Spans still in memory are written when the interpreter exits and on SIGTERM (unless the program handles SIGTERM
    itself). Where a provider is already set, that provider stays.

    Raises:
        ConfigError: an exporter is not known, or the file can't be written.
    """
    from opentelemetry.sdk.trace import TracerProvider

    if isinstance(trace.get_tracer_provider(), TracerProvider):
        _log.debug("a tracer provider is already set: leaving it as it is")
    else:
        provider = _provider(service_name, traces_file or os.environ.get(names.ENV_TRACES_FILE))
        trace.set_tracer_provider(provider)
        # Registered by us, so that the exporter's own exit hooks, registered earlier, run after it.
        atexit.register(provider.shutdown)
        _exit_on_sigterm()
    instrument_requests()


def flush(timeout_seconds: float = 10.0) -> bool:
    """Export what is in memory now; False if it did not all leave in time."""
    force_flush: Callable[[int], bool] | None = getattr(trace.get_tracer_provider(), "force_flush", None)
    return force_flush is None or force_flush(int(timeout_seconds * 1000))


def report_failure(what: str) -> None:
    """Log the exception at hand, the first time that this part of telemetry fails in this process."""
    if what not in _failed:
        _failed.add(what)
        _log.exception("telemetry failed (%s); what it watches goes on, and this is logged once", what)


def instrument_requests() -> None:
    """Give every call by `requests` its CLIENT span, once, unless somebody already did."""
    from opentelemetry.instrumentation.requests import RequestsInstrumentor

    instrumentor = RequestsInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument()


def _provider(service_name: str | None, traces_file: str | os.PathLike[str] | None) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    attributes = {names.HOST_NAME: os.uname().nodename}
    if service_name and not os.environ.get("OTEL_SERVICE_NAME"):
        attributes[names.SERVICE_NAME] = service_name
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    if traces_file:
        provider.add_span_processor(
            BatchSpanProcessor(_file_exporter(Path(traces_file)), schedule_delay_millis=_FILE_DELAY_MILLIS)
        )
    if not traces_file or os.environ.get("OTEL_TRACES_EXPORTER"):
        for exporter in _environment_exporters():
            provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _file_exporter(path: Path) -> SpanExporter:
    from opentelemetry.exporter.otlp.json.file import FileSpanExporter

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileSpanExporter(path)
    except OSError as error:
        raise ConfigError(f"can't write traces to {path}: {error.strerror}; choose another --traces-file") from error


def _environment_exporters() -> list[SpanExporter]:
    """The exporters that OTEL_TRACES_EXPORTER names, as the SDK's own auto-configuration would choose them."""
    exporters = []
    for name in filter(None, map(str.strip, os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(","))):
        if name == "none":
            continue
        if name == "otlp":
            protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get(
                "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
            )
            entry = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
        else:
            entry = name
        found = list(entry_points(group="opentelemetry_traces_exporter", name=entry))
        if not found:
            raise ConfigError(f"OTEL_TRACES_EXPORTER={name!r} is not known here; use otlp, console or none")
        exporters.append(found[0].load()())
    return exporters


def _exit_on_sigterm() -> None:
    """SIGTERM ends a Python process without its exit hooks, and with them the spans of its last moments."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        # 143 is what a shell reports for a process that SIGTERM ended.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
