"""A process's way out for spans: what could not be exported is counted and said once, and a forked child has its own.

OpenTelemetry's batch processor tells nobody how many spans it lost: to a full queue, to an exporter that gave up, to an
end that came too soon. Here every span that ends is counted, and every one that the exporter got rid of.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from otel_kfs import semconv
from otel_kfs.telemetry.export.exportable import encoded_bytes, exportable, limits_of_environment, may_be_large
from otel_kfs.telemetry.redaction import text, without_secrets
from otel_kfs.telemetry.safe_tracer import report_failure

_log = logging.getLogger(__name__)

# What a process's last spans may take at its end: an orchestrator kills after 30 s, and the program ends work, too.
EXIT_SECONDS = 10.0
EXPLAIN_SECONDS = 3.0  # of these, to look for the reason of failures
ABSENT_SECONDS = 1.0  # the same where nothing listens, on this machine

# How soon after its end a forked child's span is exported, and the pause before the next export.
_SOON_SECONDS, _PAUSE_SECONDS = 0.01, 0.5

# What one request may hold: gRPC servers refuse more than 4 MB by default.
_REQUEST_BYTES = 3_000_000
# A failure of less than this was not for its size: the smallest limit in use is 1 MB, nginx's.
_SMALL_BYTES = 512_000

_LARGE_BYTES = 100_000

# Redaction sees more of a text than leaves, so that what is cut off is not what shows that a secret begins before it.
_SEEN = 2

_TOO_FAST = "they ended faster than they could be exported"
_TOO_LATE = "they had not left when the process ended"


class CountingExporter(SpanExporter):
    """An exporter that counts how many spans it exported and how many it failed to; it never raises.

    A forked child makes one of its own: with its parent's, both would talk over one connection, and the child might
    wait for ever for a lock that a thread of its parent held. Its spans get its own process id.
    """

    def __init__(
        self,
        make: Callable[[], SpanExporter],
        where: str = "",
        explain: Callable[[], str] = str,
        is_absent: Callable[[], bool] = bool,
    ) -> None:
        """`make` is called once a process; `where` the spans go is for people (left out: the exporter's class).

        `explain` says in a few words why exporting fails, where it can tell, within 3 s; `is_absent` whether nobody is
        there to export to.
        """
        self._make, self._explain, self._is_absent = make, explain, is_absent
        self._pid = os.getpid()
        self.limits = limits_of_environment()
        self._exporter = make()
        self.where = where or type(self._exporter).__name__
        # Exporters return that they failed; the reason they tell their own log alone.
        self.why = f"the exporter failed (see the log of {type(self._exporter).__module__.rpartition('.')[0]})"
        for cls in type(self._exporter).__mro__:
            if cls.__module__.startswith("opentelemetry.exporter."):
                logging.getLogger(cls.__module__).addFilter(_without_secrets)
        self.reason = ""
        self.exported = self.failed = 0
        self.failing = self.ending = self._given_up = False
        self._process: Resource | None = None  # what a forked child's spans have of its own
        self._forked = False
        self._parents: list[SpanExporter] = []  # kept: a gRPC channel of the parent's can't be closed here

    def forked(self) -> None:
        """Count anew in a forked child, and export with an exporter of its own."""
        self.exported = self.failed = 0
        self.failing = False
        self._process = Resource({semconv.PROCESS_PID: os.getpid()})
        self._forked = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export one batch; where that fails for one span or for the batch's size, all of it that can be."""
        before = self.exported
        try:
            if not self._given_up:
                self._try(spans)
        except Exception:  # noqa: BLE001 - whatever it is, it is counted and said
            report_failure("exporting spans")
        exported = self.exported - before
        self.failed += len(spans) - exported
        if exported and self.failing:
            _log.info("spans are exported to %s again", self.where)
        elif not exported and not self.failing and not self.ending:
            self.look_for_reason()
            _log.warning("spans are not exported to %s: %s", self.where, self.why)
        self.failing = not exported
        return SpanExportResult.SUCCESS if exported == len(spans) else SpanExportResult.FAILURE

    def _try(self, spans: Sequence[ReadableSpan]) -> None:
        if self._forked:
            self._parents.append(self._exporter)
            self._exporter = self._make()
            self._forked = False
        # All of a provider's spans have one resource.
        resource = spans[0].resource
        if self._process is not None and resource.attributes.get(semconv.PROCESS_PID) == self._pid:
            resource = resource.merge(self._process)
        self._export_parts([ready for span in spans if (ready := self._prepared(span, resource)) is not None])

    def _export_parts(self, spans: list[ReadableSpan]) -> None:
        """Export spans in as many requests as they need, without those that can't be encoded."""
        parts, size = _requests(spans)
        in_doubt = False  # whether anybody is there
        while parts and not self._given_up:
            part = parts.popleft()
            if in_doubt and len(part) > 1:
                smallest, *rest = sorted(part, key=encoded_bytes)
                parts.appendleft(rest)
                part = [smallest]
            try:
                succeeded = self._exporter.export(part) is SpanExportResult.SUCCESS
                is_content = False
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and said
                report_failure("exporting spans")
                succeeded, is_content = False, not isinstance(error, OSError)
            if succeeded:
                self.exported += len(part)
                in_doubt = False
            elif len(encodable := list(filter(_is_encodable, part))) < len(part):
                parts.extendleft([encodable] if encodable else [])
            elif is_content:
                parts.extendleft([span] for span in reversed(part) if len(part) > 1)
            elif in_doubt or size < _SMALL_BYTES:
                break
            else:  # perhaps refused for its size
                in_doubt = True
                half = len(part) // 2
                parts.extendleft(filter(None, (part[half:], part[:half])) if half else ())

    def look_for_reason(self) -> None:
        """Find out why nothing was ever exported, if it can be told."""
        if not self.exported and not self.reason:
            self.reason = self._explain()
            self.why = self.reason or self.why

    def is_absent(self) -> bool:
        """Return whether nothing is there to export to, and keep that as the reason."""
        is_absent = self._is_absent()
        if is_absent:
            self.reason = self.why = "nobody listens there"
        return is_absent

    def _prepared(self, span: ReadableSpan, resource: Resource) -> ReadableSpan | None:
        try:
            if exportable(span, self.limits) is span and without_secrets(span, resource) is span:
                return span  # as most are
            seen = exportable(span, self.limits.times(_SEEN))
            return exportable(without_secrets(seen, resource), self.limits)
        except Exception:  # noqa: BLE001 - the others leave
            report_failure("preparing a span")
            return None

    def shutdown(self) -> None:
        """Give up what is being tried, and try no more."""
        if not self._given_up:
            self._given_up = True
            if not self._forked:
                self._exporter.shutdown()


class CountingBatchProcessor(BatchSpanProcessor):
    """OpenTelemetry's batch processor over one exporter; it ends within `EXIT_SECONDS` and says what was lost."""

    def __init__(self, export: CountingExporter, **settings: float) -> None:
        """Take the settings of the base class; those that are left out come from the environment."""
        self._export = export
        self._ended = itertools.count()  # as many as were asked for: unlike +=, exact from several threads
        self._has_spans: threading.Event | None = None  # in a forked child alone
        weak = weakref.WeakMethod(self._after_fork)

        def after_fork() -> None:
            if (method := weak()) is not None:
                method()

        # Before the base class's, which starts the child's thread.
        os.register_at_fork(after_in_child=after_fork)
        super().__init__(export, **settings)  # type: ignore[arg-type]
        self._prepare_end()

    def _after_fork(self) -> None:
        self._ended = itertools.count()
        self._export.forked()
        self._prepare_end()
        self._has_spans = threading.Event()
        flush = threading.Thread(target=self._flush_soon, args=[self._has_spans], name="otel_kfs_soon", daemon=True)
        flush.start()

    def _flush_soon(self, has_spans: threading.Event) -> None:
        """Export a forked child's spans soon after they ended: its parent may kill it once its work is done."""
        while True:
            has_spans.wait()
            time.sleep(_SOON_SECONDS)
            has_spans.clear()
            super().force_flush()
            time.sleep(_PAUSE_SECONDS)

    def _prepare_end(self) -> None:
        """Start the thread that ends the base class, which may take longer than we give it.

        Now, because an interpreter that ends starts no threads any more.
        """
        self._end_asked, self._end_reached = threading.Event(), threading.Event()
        self._is_reported = False
        threading.Thread(target=self._end, name="otel_kfs_last_export", daemon=True).start()

    def _end(self) -> None:
        self._end_asked.wait()
        super().shutdown()  # type: ignore[no-untyped-call]
        self._end_reached.set()

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is sampled, without most of a very long text: the queue holds 2048 spans."""
        if span.context and span.context.trace_flags.sampled:
            next(self._ended)
            try:
                if may_be_large(span) and encoded_bytes(span) > _LARGE_BYTES:
                    span = exportable(span, self._export.limits.times(_SEEN))
            except Exception:  # noqa: BLE001 - the exporter will see
                report_failure("the size of a span")
        super().on_end(span)
        if self._has_spans is not None:
            self._has_spans.set()

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Export what is queued now; False if any of it failed. Like the base class's, it does not look at the time."""
        failed = self._export.failed
        return super().force_flush(timeout_millis) and self._export.failed == failed

    def begin_end(self) -> None:
        """Start to export what is queued; `shutdown` waits for it, from here on for `EXIT_SECONDS` at most."""
        if not self._export.ending:
            self._export.ending = True
            self._end_limit = time.monotonic() + EXIT_SECONDS
            self._end_asked.set()

    def shutdown(self) -> None:
        """Export what is queued, for `EXIT_SECONDS` at most; log in one line what was never exported, and why.

        Where nobody listens on this machine, that is known after `ABSENT_SECONDS`.
        """
        self.begin_end()
        try:
            if not self._ends_within(EXIT_SECONDS - ABSENT_SECONDS) and self._export.is_absent():
                self._export.shutdown()
            elif not self._ends_within(EXPLAIN_SECONDS):
                self._export.look_for_reason()
                if not self._ends_within(0.0):
                    self._export.shutdown()
            elif self._export.failed:
                self._export.look_for_reason()
        finally:
            self.report_lost()

    def _ends_within(self, reserve: float) -> bool:
        """Wait for the end, but for the last `reserve` seconds."""
        return self._end_reached.wait(max(0.0, self._end_limit - time.monotonic() - reserve))

    def report_lost(self) -> None:
        """Log in one line what was never exported, and why."""
        if self._is_reported:
            return
        self._is_reported = True
        ended = next(self._ended)
        if lost := ended - self._export.exported:
            known = self._export.failed or self._export.reason
            why = self._export.why if known else _TOO_FAST if self._end_reached.is_set() else _TOO_LATE
            _log.error("%d of %d spans were not exported to %s: %s", lost, ended, self._export.where, why)


def _requests(spans: Sequence[ReadableSpan]) -> tuple[deque[list[ReadableSpan]], int]:
    """Return the spans in as many lists as they need requests, and how many bytes they take together, about."""
    requests: deque[list[ReadableSpan]] = deque()
    room = total = 0
    for span in spans:
        size = encoded_bytes(span)
        total += size
        if size > room:
            requests.append([])
            room = _REQUEST_BYTES
        requests[-1].append(span)
        room -= size
    return requests, total


def _is_encodable(span: ReadableSpan) -> bool:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    try:
        encode_spans([span]).SerializePartialToString()
    except Exception:  # noqa: BLE001 - the exporter said why
        return False
    return True


def _without_secrets(record: logging.LogRecord) -> bool:
    """Take out of an exporter's log what may be a secret: it logs the query of a URL that does not answer."""
    record.msg, record.args = text(record.getMessage()), ()
    return True
