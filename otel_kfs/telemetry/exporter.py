"""A process's way out for spans: what could not be exported is counted and said once, and a forked child has its own.

OpenTelemetry's batch processor tells nobody how many spans it lost: to a full queue, to an exporter that gave up, to an
end that came too soon. Here every span that ends is counted, and every one that the exporter got rid of.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from otel_kfs.telemetry.redaction import without_secrets

_log = logging.getLogger(__name__)

# What a process's last spans may take at its end: an orchestrator kills after 30 s, and the program ends work, too.
EXIT_SECONDS = 10.0

_TOO_FAST = "they ended faster than they could be exported"
_TOO_LATE = "they had not left when the process ended"


class CountingExporter(SpanExporter):
    """An exporter that remembers how many spans it got rid of, and why it failed; it never raises.

    A forked child makes one of its own: with its parent's, both would talk over one connection, and the child might
    wait for ever for a lock that a thread of its parent held.
    """

    def __init__(self, make: Callable[[], SpanExporter], where: str = "") -> None:
        """`make` is called once a process; `where` the spans go is for people (left out: the exporter's endpoint)."""
        self._make = make
        self._exporter = make()
        self.where = where or _endpoint(self._exporter)
        self.exported = self.failed = 0
        self.why = ""  # the last failure's reason
        self.failing = self.ending = False
        self._forked = False
        self._parents: list[SpanExporter] = []  # kept: a gRPC channel of the parent's can't be closed here
        self._thread: int | None = None  # which one is exporting
        self._heard = ""
        # Exporters return that they failed; why, they tell their logs alone.
        modules = {cls.__module__ for cls in type(self._exporter).__mro__}
        for name in sorted(name for name in modules if name.startswith("opentelemetry.exporter.")):
            logger = logging.getLogger(name)
            logger.setLevel(logging.WARNING)
            logger.addFilter(self._hear)

    def forked(self) -> None:
        """This is another process: count anew, and export with an exporter of its own."""
        self.exported = self.failed = 0
        self.why = ""
        self.failing = False
        self._thread = None
        self._forked = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export one batch."""
        self._thread, self._heard = threading.get_ident(), ""
        try:
            if self._forked:
                self._parents.append(self._exporter)
                self._exporter = self._make()
                self._forked = False
            result = self._exporter.export([without_secrets(span) for span in spans])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and said
            result, self._heard = SpanExportResult.FAILURE, _innermost(error)
        finally:
            self._thread = None
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
            if self.failing:
                _log.info("spans are exported to %s again", self.where)
            self.failing = False
        else:
            self.failed += len(spans)
            self.why = self._heard or "the exporter failed"
            if not self.failing and not self.ending:
                _log.warning("spans are not exported to %s: %s", self.where, self.why)
            self.failing = True
        return result

    @property
    def exporting(self) -> bool:
        """Whether a batch is on its way just now."""
        return self._thread is not None

    def shutdown(self) -> None:
        """Give up what is being tried."""
        if not self._forked:
            self._exporter.shutdown()

    def _hear(self, record: logging.LogRecord) -> bool:
        """Take the reason of a failure from the exporter's log; only `--verbose` also wants to read it there."""
        if self._thread != threading.get_ident():
            return True
        arguments = record.args if isinstance(record.args, tuple) else ()
        errors = [argument for argument in arguments if isinstance(argument, BaseException)]
        if errors:
            self._heard = _innermost(errors[0])
        elif arguments and "retrying" in str(record.msg):
            self._heard = str(arguments[0])
        elif not self._heard:
            self._heard = record.getMessage()
        return _log.isEnabledFor(logging.INFO)


class CountingBatchProcessor(BatchSpanProcessor):
    """OpenTelemetry's batch processor over one exporter; it ends within `EXIT_SECONDS` and says what was lost."""

    def __init__(self, export: CountingExporter, schedule_delay_millis: float | None = None) -> None:
        self._export = export
        self._ended = itertools.count()  # as many as were asked for: unlike +=, exact from several threads
        weak = weakref.WeakMethod(self._after_fork)

        def after_fork() -> None:
            if (method := weak()) is not None:
                method()

        # Before the base class's, which starts the child's thread.
        os.register_at_fork(after_in_child=after_fork)
        super().__init__(export, schedule_delay_millis=schedule_delay_millis)

    def _after_fork(self) -> None:
        self._ended = itertools.count()
        self._export.forked()

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is sampled."""
        if span.context and span.context.trace_flags.sampled:
            next(self._ended)
        super().on_end(span)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Export what is queued now; False if any of it failed. Like the base class's, it does not look at the time."""
        failed = self._export.failed
        return super().force_flush(timeout_millis) and self._export.failed == failed

    def shutdown(self) -> None:
        """Export what is queued, for `EXIT_SECONDS` at most; log in one line what was never exported, and why."""
        if self._export.ending:
            return
        self._export.ending = True
        try:
            self._batch_processor.shutdown(timeout_millis=int(EXIT_SECONDS * 1000))
        finally:
            ended = next(self._ended)
            if lost := ended - self._export.exported:
                late = self._export.exporting or self._batch_processor._queue
                why = self._export.why or (_TOO_LATE if late else _TOO_FAST)
                _log.error("%d of %d spans were not exported to %s: %s", lost, ended, self._export.where, why)


def _endpoint(exporter: SpanExporter) -> str:
    """Where an exporter sends to, without the credentials that a URL may hold; else what kind it is."""
    endpoint = getattr(exporter, "_endpoint", None)
    if not isinstance(endpoint, str):
        return type(exporter).__name__
    scheme, separator, rest = endpoint.rpartition("://")
    parts = urlsplit("//" + rest)
    return f"{scheme}{separator}{parts.netloc.rpartition('@')[2]}{parts.path}"


def _innermost(error: BaseException) -> str:
    """What the system said, below all that libraries wrapped around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
