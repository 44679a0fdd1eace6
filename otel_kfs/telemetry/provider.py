"""Sets a process up to trace: one provider, one exporter (OTLP, or a file of OTLP-JSON lines), flushed on the way out.

A forked child exports by itself, under its own process id.

Under `opentelemetry-instrument`, or wherever a provider is already set, nothing here is needed and `configure` leaves
what it finds.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from opentelemetry import trace

from otel_kfs import __version__, semconv
from otel_kfs.errors import ConfigError
from otel_kfs.telemetry import otel_settings, sigterm
from otel_kfs.telemetry.patches import Patches
from otel_kfs.telemetry.propagators import propagate
from otel_kfs.telemetry.safe_tracer import SafeTracerProvider, guard_propagator, never_raises, report_failure

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from otel_kfs.telemetry.export.exporter import CountingBatchProcessor, CountingExporter

__all__ = ["SCHEMA_URL", "configure", "flush", "instrument_requests", "report_failure", "tracer", "tracer_of"]

_log = logging.getLogger(__name__)

# Files are read back while the process still runs (the demo waits for its servers' last span), so a batch is written
# sooner than the 5 s that suit a network.
_FILE_DELAY_MILLIS = 200

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"  # the conventions that our spans' attributes follow

_os_exit = os._exit
_OS_EXIT_SECONDS = 11.0  # exporters take 10 s at most, and then say what they lost

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

    `service_name` is the name to search for in Jaeger; `OTEL_SERVICE_NAME` goes before it, and it goes before the
    `service.name` of `OTEL_RESOURCE_ATTRIBUTES`, whose other attributes go before what is found out here.

    With `traces_file` (or `OTEL_KFS_TRACES_FILE`) spans are appended to that file as OTLP-JSON lines, also by several
    processes at a time; without, the exporter is what the standard `OTEL_TRACES_EXPORTER` and `OTEL_EXPORTER_OTLP_*`
    variables say; with both, spans go both ways. Calls by `requests` are traced too.

    Spans still in memory are written when the interpreter exits and on SIGTERM (unless the program handles SIGTERM
    itself), in 10 s at most; how many could not be exported is logged then, in one line. SIGTERM then ends the process
    as it does without this. A process that is forked afterwards does the same for its own spans. Where a provider is
    already set, that provider stays.

    Raises:
        ConfigError: a setting in the environment can't be used, or the file can't be written.
    """
    _set_up(service_name, traces_file)


def configure_command(name: str, *, traces_file: str | os.PathLike[str] | None = None) -> None:
    """Do the same for one of our commands, whose name is a guess: `service.name` in the environment goes before it."""
    _set_up(name, traces_file, is_guess=True)


def _set_up(service_name: str | None, traces_file: str | os.PathLike[str] | None, *, is_guess: bool = False) -> None:
    try:
        _configure(service_name, traces_file, is_guess)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - the SDK's own, of a setting that it can't use
        raise ConfigError(f"OpenTelemetry can't be set up as OTEL_* say: {_one_line(error)}") from None


def _configure(service_name: str | None, traces_file: str | os.PathLike[str] | None, is_guess: bool) -> None:
    global configured  # noqa: PLW0603 - a process is set up once
    otel_settings.check_names()
    propagate()

    from opentelemetry.sdk.trace import TracerProvider

    if isinstance(trace.get_tracer_provider(), TracerProvider):
        _log.debug("a tracer provider is already set: leaving it as it is")
        instrument_requests()
        return
    provider, processors = _provider(service_name, traces_file or os.environ.get(semconv.ENV_TRACES_FILE), is_guess)
    end = functools.partial(_end, provider, processors)
    trace.set_tracer_provider(provider)
    configured = service_name, None if traces_file is None else os.path.abspath(traces_file)
    # Registered by us, so that the exporter's own exit hooks, registered earlier, run after it.
    sigterm.at_end(end)
    os.register_at_fork(after_in_child=functools.partial(_forked, end))
    sigterm.handle_sigterm(provider.force_flush)
    instrument_requests()


def _one_line(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())


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


def _provider(
    service_name: str | None, traces_file: str | os.PathLike[str] | None, is_guess: bool = False
) -> tuple[TracerProvider, list[CountingBatchProcessor]]:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    from otel_kfs.telemetry.export.exporter import CountingBatchProcessor, CountingExporter

    guesses = Resource({semconv.HOST_NAME: os.uname().nodename, semconv.PROCESS_PID: os.getpid()})
    is_named = not service_name or os.environ.get("OTEL_SERVICE_NAME") or (is_guess and _is_named())
    said = Resource.create({} if is_named else {semconv.SERVICE_NAME: service_name})
    provider = TracerProvider(resource=guesses.merge(said), shutdown_on_exit=False)
    batches = otel_settings.batch_settings()
    processors = []
    if traces_file:
        of_file = {**batches, "schedule_delay_millis": _FILE_DELAY_MILLIS}
        processors.append(CountingBatchProcessor(_file_export(Path(traces_file)), **of_file))
    if not traces_file or os.environ.get("OTEL_TRACES_EXPORTER"):
        for choice in otel_settings.exporter_choices():
            processors.append(CountingBatchProcessor(CountingExporter(*choice), **batches))
    for processor in processors:
        provider.add_span_processor(processor)
    return provider, processors


def _is_named() -> bool:
    """Return whether OTEL_RESOURCE_ATTRIBUTES names the service."""
    from opentelemetry.sdk.resources import OTELResourceDetector

    return semconv.SERVICE_NAME in OTELResourceDetector().detect().attributes


def _end(provider: TracerProvider, processors: list[CountingBatchProcessor]) -> None:
    """Let the last spans leave by all ways at the same time."""
    for processor in processors:
        processor.begin_end()
    try:
        provider.shutdown()
    finally:  # cut off, perhaps
        for processor in processors:
            processor.report_lost()


def _forked(end: Callable[[], None]) -> None:
    """Have the last spans of a child leave where it ends without the interpreter's exit hooks.

    Pools (multiprocessing's, billiard's, which is Celery's) end their children by `os._exit`.
    """

    def exit_after_last_spans(*args: Any, **kwargs: Any) -> None:
        try:
            # In a thread of its own: this one may hold what logging needs, and a watchdog's must end the process.
            last = threading.Thread(target=never_raises("the last spans")(end), daemon=True)
            last.start()
            last.join(_OS_EXIT_SECONDS)
        finally:
            _os_exit(*args, **kwargs)

    Patches().set(os, "_exit", exit_after_last_spans)


def _file_export(path: Path) -> CountingExporter:
    from opentelemetry.exporter.otlp.json.file import FileSpanExporter

    from otel_kfs.telemetry.export.exporter import CountingExporter
    from otel_kfs.telemetry.export.traces_file import TracesFile

    try:
        return CountingExporter(lambda: FileSpanExporter(stream=cast("IO[str]", TracesFile(path))), str(path))
    except OSError as error:
        raise ConfigError(f"can't write traces to {path}: {error.strerror}; choose another --traces-file") from error
