"""Traces the real curl: one request, its own timings as spans.

    send image                          from just before the program's start to its exit
      start program                     until curl's own clock started
      POST                 CLIENT       curl's time_total; its context is what the request carries
        name look-up                    time_namelookup
        connect                         time_connect
        TLS handshake                   time_appconnect
        upload                          time_pretransfer to time_posttransfer (curl 8.10 and newer)
        receive answer                  time_starttransfer to time_total

curl gives its times as durations since a start that it does not tell. They are placed by their end: curl reports right
after its transfer, so the time at which its report arrives here is the end of time_total, late by the delay of a pipe.

From 8.3 on curl writes its report into a pipe of ours, and its streams are none of our business. Older ones can report
on standard error alone, which then comes by us, without the report; they don't report where that would show.

curls before 8.10 say neither when an upload ended nor, where the body went out after the headers, when the answer began
(their time_starttransfer is then the upload's start): of such a request neither is a span. After
redirects, which curl adds up, the time up to the last one is a span `redirects`, and the last request's is not divided.
"""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanContext, SpanKind

from otel_kfs import semconv
from otel_kfs.client.model_request.model_url import redact_url
from otel_kfs.programs import curl_arguments
from otel_kfs.programs.curl_arguments import Arguments, Curl
from otel_kfs.programs.descriptors import inherited
from otel_kfs.programs.foreground import run_untraced, running, shell_code
from otel_kfs.programs.program_span import ProgramSpans, headers
from otel_kfs.telemetry.safe_tracer import mark_failed

_log = logging.getLogger(__name__)

_STDOUT, _STDERR = 1, 2
_OWN_DESCRIPTORS = Path("/proc/self/fd")  # without it no other process can open our pipes


def run(command: Sequence[str], run_id: str | None = None) -> int:
    """Run curl and trace its request; return its exit code, or minus the signal that ended it.

    Raises:
        ConfigError: it can't be started, or its arguments mean more than one HTTP request.

    """
    curl = curl_arguments.ask(command[0])
    arguments = curl_arguments.read(command, curl)
    sends = arguments.urls or arguments.has("config")
    if not sends or arguments.has("help", "version", "manual"):
        return run_untraced(command)
    spans = ProgramSpans()
    curl_arguments.check(arguments, spans.example_headers())
    with _Reports(curl, arguments) as reports:
        start = time.time_ns()
        root = spans.root(start, semconv.HTTP, "curl", run_id or uuid.uuid4().hex, 0)
        promised = spans.promise(root)
        traced = curl_arguments.with_headers(arguments, headers(promised), reports.beginning, reports.end)
        with running(traced, reports.streams) as program:
            reports.started()
            code, (texts, arrived) = program.wait_during(reports.read, reports.ended)
            end = time.time_ns()

            timings = _timings(texts)
            if reports.mark and timings is None and code >= 0:
                _warn_without_parts(f"curl reported {len(texts)} requests' timings")
            answered = arrived if timings else end
            request = _request(spans, root, promised, arguments, timings, (start, answered))
            root.set_attribute(semconv.PROCESS_EXIT_CODE, shell_code(code))
            if timings and "size_upload" in timings:
                root.set_attribute(semconv.PAYLOAD_SIZE, int(timings["size_upload"]))
            _mark_failures(root, request, shell_code(code), timings or {})
            request.end(answered)
            root.end(end)
    return code


class _Reports:
    """The pipe by which curl's reports of its timings come, if they do: each stands between two marks."""

    def __init__(self, curl: Curl, arguments: Arguments) -> None:
        self._direct = curl.writes_reports_to_files and _OWN_DESCRIPTORS.is_dir()
        reason = curl_arguments.untimed(arguments, curl, self._direct)
        if not reason and not self._direct:
            reason = _stderr_is_needed(arguments)
        if reason:
            _warn_without_parts(reason)
        self.mark = "" if reason else f"otel-kfs-{uuid.uuid4().hex}:"
        self._read, self._write = os.pipe()

    def __enter__(self) -> _Reports:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended()
        os.close(self._read)

    @property
    def beginning(self) -> str:
        """What leads to a report in curl's --write-out format, up to the report."""
        if not self.mark:
            return ""
        # curl opens a pipe of ours by its path, so it has no descriptor more than without us.
        into = f"%output{{/proc/{os.getpid()}/fd/{self._write}}}" if self._direct else ""
        return f"%{{stderr}}{into}{self.mark}"

    @property
    def end(self) -> str:
        """What follows a report there."""
        return f"{self.mark}%{{stdout}}" if self.mark else ""

    @property
    def streams(self) -> dict[int, int]:
        """The streams that curl shares with us."""
        return {_STDERR: self._write} if self.mark and not self._direct else {}

    def started(self) -> None:
        """Leave the writing end to curl alone, so that its end can be noticed."""
        if self.streams:
            self.ended()

    def read(self) -> tuple[list[bytes], int]:
        """Return the reports and when the last one came; pass on what is curl's own."""
        return relay(self._read, _STDERR, self.mark.encode()) if self.mark else ([], 0)

    def ended(self) -> None:
        """Let `read` end, once curl has ended."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1


def _stderr_is_needed(arguments: Arguments) -> str | None:
    """Say why curl's standard error can't come by us; None if it can."""
    older = "curl before 8.3 reports its timings on standard error alone"
    if not inherited(_STDERR):
        return f"{older}, which is closed"
    if _stdout_is_stderr():
        return f"{older}, which is its standard output, too: redirect one of them to have its parts"
    if any("/dev/stderr" in word or "/fd/2" in word for word in arguments.command):
        return f"{older}, which its arguments name"
    return None


def _stdout_is_stderr() -> bool:
    """Return whether both go to the same place, where their order can be seen."""
    if not inherited(_STDOUT) or not inherited(_STDERR):
        return False
    out, err = os.fstat(_STDOUT), os.fstat(_STDERR)
    return os.path.samestat(out, err) and not os.path.samestat(out, os.stat(os.devnull))


def _warn_without_parts(reason: str) -> None:
    """Warn, unless that would land amidst curl's answer, where somebody may want to parse it."""
    level = logging.INFO if _stdout_is_stderr() and not os.isatty(_STDERR) else logging.WARNING
    _log.log(level, "curl's request is one span without parts: %s", reason)


def relay(source: int, to: int, mark: bytes) -> tuple[list[bytes], int]:
    """Copy one file descriptor to another as it comes, without the reports, which stand between two marks each.

    Return the reports, and when (ns since the epoch) the first byte of the last one's first mark came: curl writes
    single bytes there, each of which may wake us.
    """
    reports: list[bytes] = []
    arrived, began, inside, held = 0, 0, False, b""
    while chunk := os.read(source, 1 << 16):
        now = time.time_ns()
        began = began if held else now
        held += chunk
        while mark in held:
            text, _, held = held.partition(mark)
            if inside:
                reports.append(text)
            else:
                arrived = began if not text else now
                _write(to, text)
            inside = not inside
        if not inside:
            keep = _beginning(held, mark)
            began = began if keep == len(held) else now
            _write(to, held[: len(held) - keep])
            held = held[len(held) - keep :]
    if not inside:
        _write(to, held)
    return reports, arrived


def _beginning(held: bytes, mark: bytes) -> int:
    """Return how many bytes at the end of `held` may be the beginning of a mark."""
    return next(size for size in range(min(len(mark) - 1, len(held)), -1, -1) if held.endswith(mark[:size]))


def _write(to: int, text: bytes) -> None:
    view = memoryview(text)
    try:
        while view:
            view = view[os.write(to, view) :]
    except OSError:
        _log.debug("curl's standard error is no longer read")


def _timings(reports: list[bytes]) -> dict[str, Any] | None:
    if len(reports) != 1:
        return None
    try:
        timings = json.loads(reports[0])
    except ValueError:
        return None
    return timings if isinstance(timings, dict) and "time_total" in timings else None


def _request(
    spans: ProgramSpans,
    root: Span,
    promised: SpanContext,
    arguments: Arguments,
    timings: dict[str, Any] | None,
    bounds: tuple[int, int],
) -> Span:
    """Make the program's start and the CLIENT span, not ended yet, with its parts; without timings it has none."""
    start, end = bounds
    zero = start if timings is None else max(start, end - _ns(timings["time_total"]))
    method = str((timings or {}).get("method") or arguments.method)
    attributes = {semconv.HTTP_REQUEST_METHOD: method, **_addresses(arguments, timings or {})}
    if timings is not None:
        spans.child(root, semconv.START_PROGRAM, start, zero, attributes={semconv.PROCESS_EXECUTABLE_NAME: "curl"})
        if size := int(timings.get("size_upload", 0)):
            attributes[semconv.HTTP_REQUEST_BODY_SIZE] = size
        if status := int(timings.get("http_code", 0)):
            attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = status
    request = spans.child(root, method, zero, kind=SpanKind.CLIENT, attributes=attributes, promised=promised)
    for name, began, ended in steps(timings or {}):
        at, until = (min(end, zero + _ns(offset)) for offset in (began, ended))
        spans.child(request, name, at, max(at, until))
    return request


def steps(timings: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Return the parts of a request, each with its start and end, in seconds since curl's clock started.

    The time that the server has, until the answer begins, is no part: the server's own spans are beside it.
    """

    def at(name: str) -> float:
        return float(timings.get(f"time_{name}") or 0.0)

    if timings.get("num_redirects"):
        return [(semconv.REDIRECTS, 0.0, at("redirect"))]
    connected = max(at("namelookup"), at("connect"), at("appconnect"))
    found = [
        (semconv.NAME_LOOKUP, 0.0, at("namelookup")),
        (semconv.CONNECT, at("namelookup"), at("connect")),
        (semconv.TLS_HANDSHAKE, at("connect"), at("appconnect")),
    ]
    if at("starttransfer") and not timings.get("size_upload"):
        found.append((semconv.RECEIVE_ANSWER, at("starttransfer"), at("total")))
    elif 0 < at("pretransfer") <= at("posttransfer") <= at("starttransfer"):
        uploaded = at("posttransfer")
        found += [(semconv.UPLOAD, connected, uploaded), (semconv.RECEIVE_ANSWER, at("starttransfer"), at("total"))]
    # Else curl, before 8.10, does not say when the upload ended; or what it calls the answer's first byte is another's.
    # A step that was not reached, or not needed, has no time.
    return [step for step in found if step[2] > 0]


def _addresses(arguments: Arguments, timings: dict[str, Any]) -> dict[str, Any]:
    """Return where the request went, without user-info and query, which may hold secrets."""
    url = str(timings.get("url") or (arguments.urls[0] if arguments.urls else ""))
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
    except ValueError:
        return {}  # curl itself says what is wrong with it
    if not parts.hostname:
        return {}
    return {semconv.URL_FULL: redact_url(url), semconv.SERVER_ADDRESS: parts.hostname, semconv.SERVER_PORT: port}


def _mark_failures(root: Span, request: Span, code: int, timings: dict[str, Any]) -> None:
    """Mark what failed: curl says it by its exit code, the server by its status."""
    status = int(timings.get("http_code", 0))
    if code != 0:
        description = f"curl's exit code is {code}"
        for span in (root, request):
            mark_failed(span, str(status) if status >= 400 else f"curl_{code}", description)
    elif status >= 400:
        for span in (root, request):
            mark_failed(span, str(status), "")


def _ns(seconds: float) -> int:
    return round(float(seconds) * 1_000_000_000)
