"""Runs another program's own binary, changed by nothing but the trace context that it sends, and traces it.

    curl.py, curl_arguments.py                   one HTTP request of curl; its own timings become spans
    console_producer.py, console_arguments.py    Kafka's console producer; each line it reads is a record and a trace

`run` finds out which of the two a command is. What both share: foreground.py runs a program as if it stood in our
place, program_span.py has a span's context sent out before the span's start is known, descriptors.py says what is the
program's alone to read.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from otel_kfs.errors import ConfigError
from otel_kfs.programs import console_arguments, console_producer, curl, curl_arguments

RUNS = "curl, kafka-console-producer.sh, or java ... org.apache.kafka.tools.ConsoleProducer"


def run(command: Sequence[str], *, run_id: str | None = None) -> int:
    """Run a command to its end, traced, on this process's own standard streams; return its exit code.

    A program that a signal ended gives minus the signal's number: `foreground.end_by` ends us in the same way.

    Raises:
        ConfigError: it is not a program that can be traced, can't be started, or its arguments leave no room for the
            trace context; nothing was sent then.

    """
    if curl_arguments.is_curl(command):
        return curl.run(command, run_id)
    if console_arguments.is_console_producer(command):
        return console_producer.run(command, run_id)
    raise ConfigError(f"exec can't run {shlex.quote(command[0])}; it runs {RUNS}, as the first word after --")
