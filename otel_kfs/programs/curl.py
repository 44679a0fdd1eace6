"""Traces the real curl: one request, its own timings as spans.

    send image                          from just before the program's start to its exit
      start program                     until curl's own clock started
      POST                 CLIENT       curl's time_total; its context is what the request carries
        name look-up                    time_namelookup
        connect                         time_connect
        TLS handshake                   time_appconnect
        upload                          time_pretransfer to time_posttransfer (curl 8.10 and newer)
        wait                            ... to time_starttransfer
        receive answer                  ... to time_total

curl gives its times as durations since a start that it does not tell. They are placed by their end: curl reports right
after its transfer, so the time at which its report arrives here is the end of time_total, late by the delay of a pipe.

curls before 8.10 say neither when an upload ended nor, where the body went out after the headers, when the answer began
(their time_starttransfer is then the upload's start): one span, `upload and wait`, holds all of it. After redirects,
which curl adds up, the time up to the last one is a span `redirects`, and the last request's is not divided.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
import uuid
from collections.abc import Sequence
from typing import IO, Any
from urllib.parse import urlsplit

from opentelemetry import propagate
from opentelemetry.trace import Span, SpanContext, SpanKind

from otel_kfs import semconv
from otel_kfs.client.model_request.model_client import redact_url
from otel_kfs.programs import curl_arguments
from otel_kfs.programs.curl_arguments import Arguments
from otel_kfs.programs.foreground import exit_code, run_untraced, running
from otel_kfs.programs.program_span import ProgramSpans, headers
from otel_kfs.telemetry.safe_tracer import mark_failed

_log = logging.getLogger(__name__)

_STDERR = 2


def run(command: Sequence[str], run_id: str | None = None) -> int:
    """Run curl and trace its request; return its exit code.

    Raises:
        ConfigError: it can't be started, or its arguments mean more than one HTTP request.

    """
    curl = curl_arguments.ask(command[0])
    arguments = curl_arguments.read(command, curl)
    sends = arguments.urls or arguments.has("config")
    if not sends or arguments.has("help", "version", "manual"):
        return run_untraced(command)
    curl_arguments.check(arguments, propagate.get_global_textmap().fields)
    if reason := curl_arguments.untimed(arguments, curl):
        _log.warning("curl's request is one span without parts: %s", reason)

    spans = ProgramSpans()
    mark = None if reason else f"otel-kfs-{uuid.uuid4().hex}:"
    start = time.time_ns()
    root = spans.root(start, semconv.HTTP, "curl", run_id or uuid.uuid4().hex, 0)
    promised = spans.promise(root)
    traced = curl_arguments.with_headers(arguments, headers(promised), mark)
    reports: list[bytes] = []
    arrived = 0
    with running(traced, stderr=subprocess.PIPE if mark else None) as child:
        if mark and child.stderr is not None:
            reports, arrived = relay(child.stderr, _STDERR, mark.encode())
        code = exit_code(child)
    end = time.time_ns()

    timings = _timings(reports)
    if mark and timings is None:
        _log.warning("curl's request is one span without parts: curl reported %d requests' timings", len(reports))
    answered = arrived if timings else end
    request = _request(spans, root, promised, arguments, timings, (start, answered))
    root.set_attribute(semconv.PROCESS_EXIT_CODE, code)
    if timings and "size_upload" in timings:
        root.set_attribute(semconv.PAYLOAD_SIZE, int(timings["size_upload"]))
    _mark_failures(root, request, code, timings or {})
    request.end(answered)
    root.end(end)
    return code


def relay(source: IO[bytes], to: int, mark: bytes) -> tuple[list[bytes], int]:
    """Copy a stream to a file descriptor as it comes, without the reports, which stand between two marks each.

    Return the reports, and when (ns since the epoch) the first byte of the last one's first mark came: curl writes
    single bytes there, each of which may wake us.
    """
    reports: list[bytes] = []
    arrived, began, inside, held = 0, 0, False, b""
    while chunk := os.read(source.fileno(), 1 << 16):
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
    at = zero
    for name, offset in steps(timings or {}):
        until = max(at, min(end, zero + _ns(offset)))
        spans.child(request, name, at, until)
        at = until
    return request


def steps(timings: dict[str, Any]) -> list[tuple[str, float]]:
    """Return the parts of a request, each with its end, in seconds since curl's clock started."""

    def at(name: str) -> float:
        return float(timings.get(f"time_{name}") or 0.0)

    if timings.get("num_redirects"):
        return [(semconv.REDIRECTS, at("redirect"))]
    found = [
        (semconv.NAME_LOOKUP, at("namelookup")),
        (semconv.CONNECT, at("connect")),
        (semconv.TLS_HANDSHAKE, at("appconnect")),
    ]
    if at("pretransfer") and not at("starttransfer"):
        found.append((semconv.UPLOAD_AND_WAIT, at("total")))  # the answer never began
    elif at("pretransfer"):
        uploads, uploaded = bool(timings.get("size_upload")), at("posttransfer")
        if uploads and not at("pretransfer") <= uploaded <= at("starttransfer"):
            found.append((semconv.UPLOAD_AND_WAIT, at("total")))
        else:
            found += [(semconv.UPLOAD, uploaded)] if uploads else []
            found += [(semconv.WAIT, at("starttransfer")), (semconv.RECEIVE_ANSWER, at("total"))]
    # A step that was not reached, or not needed, has no time.
    return [(name, offset) for name, offset in found if offset]


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
