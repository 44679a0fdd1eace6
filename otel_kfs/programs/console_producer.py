"""Traces Kafka's console producer: every line of its standard input is a record, and a trace of its own.

    send image
      start program                     first line only: from its spawn until it first read its standard input
      send T             PRODUCER       its context is in the record's headers

The program starts its JVM, reads its settings and makes its Kafka client before it reads; `start program` measures
that: the line's first byte waits in a pipe that holds one page, and the kernel says when it has been taken. Looking up
the broker and the topic comes after it, within the sending of the first record.

Nobody outside the program can see a record's acknowledgement, or that it failed: the program logs that, and ends with
exit code 0. `send T` therefore begins when the program can take the line and ends when it has taken all of it, and
says `otel_kfs.acknowledged` = false: encoding, sending and acknowledging come after its end. An upper bound is the end
of the last line's `send image`: the program's exit, before which it waits for all its records.

Under OpenTelemetry's Java agent the records keep the context that exec gave them: `agent_settings` in
console_arguments.py says how. The agent's own span of a record, `T publish`, which knows of the acknowledgement, is
then alone in a trace.

A `send image` begins with the program if standard input is a file, which was there before it. From a pipe or a terminal
the first line's begins no sooner than that line has come, and its `start program` with it. A later line's begins when
the program has taken the lines before it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import select
import stat
import time
import uuid
from collections.abc import Iterator, Sequence
from functools import partial

from opentelemetry.trace import Span, SpanKind

from otel_kfs import semconv
from otel_kfs.programs import console_arguments
from otel_kfs.programs.console_arguments import Arguments, Lines
from otel_kfs.programs.descriptors import inherited
from otel_kfs.programs.foreground import run_untraced, running, shell_code
from otel_kfs.programs.program_span import ProgramSpans, headers
from otel_kfs.telemetry.safe_tracer import mark_failed

_log = logging.getLogger(__name__)

_STDIN = 0
_NARROW = 4096  # bytes: one page, so that a pipe that can be written to is an empty one
_WIDE = 1 << 20  # bytes: what an unprivileged pipe may hold
_LOOK_AGAIN_SECONDS = 0.0002


def run(command: Sequence[str], run_id: str | None = None) -> int:
    """Run the console producer on our standard input and trace its records; return its exit code as `curl.run` does.

    Raises:
        ConfigError: it can't be started, is too old to send headers, or its lines' format can't hold the context.

    """
    arguments = console_arguments.read(command)
    lines = Lines.of(arguments)
    spans = ProgramSpans()
    example = spans.example_headers()
    if arguments.topic is None or not example or not inherited(_STDIN):
        return run_untraced(command)
    if file := arguments.unknown_format:
        _log.warning("no traces: --reader-config %s is no regular file, so the console producer alone reads it", file)
        return run_untraced(command)
    lines.check(example)
    traced = console_arguments.with_headers(arguments)

    began_at = os.lseek(_STDIN, 0, os.SEEK_CUR) if _is_file(_STDIN) else None
    with _Pipe() as pipe:
        records = _Records(spans, arguments, lines, pipe, run_id or uuid.uuid4().hex)
        with running(traced, {_STDIN: pipe.read_end}, console_arguments.agent_settings(arguments)) as program:
            pipe.close_read_end()
            code, _ = program.wait_during(partial(_feed, pipe, records))
            records.end(time.time_ns(), shell_code(code))
    if began_at is not None and not records.any_taken:
        os.lseek(_STDIN, began_at, os.SEEK_SET)  # the next reader finds what it left
    return code


def _feed(pipe: _Pipe, records: _Records) -> None:
    """Hand the program our standard input, until it or the program ends."""
    try:
        for line, came in pipe.lines(_STDIN):
            if not records.send(line, came):
                break
    finally:
        pipe.close()


class _Records:
    """The traces of the records, one after the other."""

    def __init__(self, spans: ProgramSpans, arguments: Arguments, lines: Lines, pipe: _Pipe, run_id: str) -> None:
        self._spans = spans
        self._lines = lines
        self._pipe = pipe
        self._run_id = run_id
        self._started = time.time_ns()
        self._topic = arguments.topic or ""
        self._count = 0
        self.any_taken = False
        # The last record's trace stays open: the program's exit ends it.
        self._last: tuple[Span, int] | None = None

    def send(self, line: bytes, came: int) -> bool:
        """Hand the program a line that came at `came` (ns since the epoch); return False if the program has ended."""
        first = self._count == 0
        if self._last is not None:
            root, ended = self._last
            root.end(ended)
        begin = time.time_ns()
        if first:
            begin = self._started if _is_file(_STDIN) else max(self._started, came)
        root = self._spans.root(begin, semconv.KAFKA, "kafka-console-producer", self._run_id, self._count)
        promised = self._spans.promise(root)
        line, size = self._lines.put(line, headers(promised))
        root.set_attribute(semconv.PAYLOAD_SIZE, size)
        self._count += 1

        taken = self._pipe.write(line[:1]) and self._pipe.wait_taken() if first else True
        self.any_taken |= taken
        ready = time.time_ns() if first else begin
        if first and self._pipe.tells_taken:
            start = self._spans.child(
                root,
                semconv.START_PROGRAM,
                begin,
                attributes={semconv.PROCESS_EXECUTABLE_NAME: "kafka-console-producer"},
            )
            if not taken:
                mark_failed(start, "program_ended", "it ended before it read its standard input")
            start.end(ready)
        send = self._spans.child(
            root,
            semconv.send(self._topic),
            ready,
            kind=SpanKind.PRODUCER,
            attributes={
                semconv.MESSAGING_SYSTEM: semconv.KAFKA,
                semconv.MESSAGING_OPERATION_NAME: "send",
                semconv.MESSAGING_OPERATION_TYPE: "send",
                semconv.MESSAGING_DESTINATION_NAME: self._topic,
                semconv.MESSAGING_MESSAGE_BODY_SIZE: size,
                semconv.ACKNOWLEDGED: False,
            },
            promised=promised,
        )
        rest = line[1:] if first else line
        taken = taken and self._pipe.write(rest) and self._pipe.wait_taken()
        ended = time.time_ns()
        if not taken:
            mark_failed(send, "program_ended", "it ended before it read the record")
        send.end(ended)
        self._last = (root, ended)
        return taken

    def end(self, at: int, code: int) -> None:
        """End the last record's trace: the program has ended."""
        if self._last is None:
            return
        root, _ = self._last
        root.set_attribute(semconv.PROCESS_EXIT_CODE, code)
        if code != 0:
            mark_failed(root, f"exit_{code}", f"the console producer's exit code is {code}")
        root.end(at)


class _Pipe:
    """The program's standard input, which can tell when the program has taken what was written."""

    def __init__(self) -> None:
        self.read_end, self._fd = os.pipe()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLOUT)
        self.tells_taken = self._resize(_NARROW)
        if not self.tells_taken:
            _log.warning("no `start program` spans: this system's pipes do not tell when they are read")

    def __enter__(self) -> _Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_read_end()
        self.close()

    def close_read_end(self) -> None:
        """Leave the reading end to the program alone, so that its exit can be noticed."""
        if self.read_end >= 0:
            os.close(self.read_end)
            self.read_end = -1

    def lines(self, source: int) -> Iterator[tuple[bytes, int]]:
        """Yield the lines of a file descriptor, and when each had come, until its end or the program's.

        A line ends where Java's readers end it: at a line feed, a carriage return, or both.
        """
        either = select.poll()
        either.register(source, select.POLLIN)
        either.register(self._fd, 0)  # only POLLERR, which comes unasked: the program has ended
        parts: list[bytes] = []
        while True:
            if any(fd == self._fd for fd, _ in either.poll()):
                return
            try:
                chunk = os.read(source, _WIDE)
            except OSError:  # closed, or a terminal that is gone: as good as its end
                chunk = b""
            came = time.time_ns()
            end = chunk.rfind(b"\n") + 1
            if chunk and not end:
                parts.append(chunk)
                continue
            parts.append(chunk[:end])
            for line in b"".join(parts).splitlines(keepends=True):
                yield line, came
            parts = [chunk[end:]]
            if not chunk:
                return

    def write(self, content: bytes) -> bool:
        """Write all of it; return False if the program has ended."""
        if len(content) > _NARROW:
            self._resize(_WIDE)
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except BrokenPipeError:
            return False
        return True

    def wait_taken(self) -> bool:
        """Wait until the program has taken everything that was written; return False if it ended before."""
        while self.tells_taken and not self._resize(_NARROW):
            time.sleep(_LOOK_AGAIN_SECONDS)  # it holds more than a page still
            if self._events(0) & select.POLLERR:
                return False
        return not self._events(None if self.tells_taken else 0) & select.POLLERR

    def close(self) -> None:
        """Let the program see the end of its input."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _events(self, timeout: int | None) -> int:
        found = self._poll.poll(timeout)
        return found[0][1] if found else 0

    def _resize(self, size: int) -> bool:
        """Ask for a pipe of that size; return False if there is none, or it holds more just now."""
        if not hasattr(fcntl, "F_SETPIPE_SZ"):
            return False
        try:
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, size)
        except OSError:
            return False
        return True


def _is_file(fd: int) -> bool:
    return stat.S_ISREG(os.fstat(fd).st_mode)
