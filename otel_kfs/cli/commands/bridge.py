"""`otel-kfs bridge`."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from otel_kfs import semconv
from otel_kfs.cli.command import command, old_name, option
from otel_kfs.cli.messages import say
from otel_kfs.cli.options import max_answer_size, model_access, properties
from otel_kfs.cli.parameter_types import FILE, Choice, Duration

if TYPE_CHECKING:
    from otel_kfs.client.model_access import ModelAccess

_POLICY = Choice(["skip", "dead-letter", "stop"])
_SPEED, _FAILURES, _TRACES = "Throughput", "Failures", "Traces"
_LOOK_SECONDS = 0.2  # how often the thread that waits for signals checks whether it is still needed
_CLOSE_SECONDS = 15.0  # beyond the grace, to commit, leave the group and write the last spans


@command(
    short_help="Send a topic's records to a model.",
    epilog="""\b
Examples:
  otel-kfs bridge --bootstrap-servers localhost:9092 --topic mobilenet \\
      --url http://ingress --model mobilenet
  otel-kfs bridge --bootstrap-servers localhost:9092 --topic mobilenet \\
      --url http://ingress --model mobilenet --concurrency 8 \\
      --retries 8 --retry-for 5m --dead-letter-topic mobilenet.dead-letters
  otel-kfs bridge --bootstrap-servers localhost:9092 --redrive \\
      --dead-letter-topic mobilenet.dead-letters \\
      --url http://ingress --model mobilenet

\b
Exit code: 1 after an error, 2 if the command line is wrong, 130 after Ctrl-C,
143 after SIGTERM; 0 when --redrive is finished.
""",
)
@option("--bootstrap-servers", required=True, metavar="HOST:PORT,...", help="Where Kafka is.")
@option("--topic", "topics", multiple=True, metavar="NAME", help="The topic; repeatable.")
@option("--group", default="otel-kfs-bridge", show_default=True, metavar="NAME", help="The consumer group.")
@option("--consumer-config", type=FILE, metavar="FILE", help="More settings, in Kafka's properties format.")
@option(
    "--url",
    envvar=semconv.ENV_MODEL_URL,
    show_envvar=True,
    required=True,
    metavar="URL",
    help="The server or ingress (with --model), or the whole :predict URL.",
)
@option("--model", metavar="NAME", help="The model's name.")
@option("--host", metavar="NAME", help="The Host header by which an ingress finds the model.")
@old_name("--host-header", "--host")
@option("--timeout", type=Duration(), default="10m", show_default=True, help="How long one request may take.")
@max_answer_size
@option(
    "--traces-file", type=FILE, metavar="FILE", help="Append spans to this file as OTLP-JSON instead of exporting them."
)
@option(
    "--concurrency",
    group=_SPEED,
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    metavar="N",
    help="Records sent to the model at a time, up to 1000. Records with the same key are sent one by one, in order.",
)
@option(
    "--batch",
    group=_SPEED,
    type=click.IntRange(1, 128),
    default=1,
    show_default=True,
    metavar="N",
    help="Records to send in one request, up to 128: V1 instances or V2 tensors. If it fails, they are sent one by "
    "one.",
)
@option(
    "--max-in-flight",
    group=_SPEED,
    type=click.IntRange(1),
    metavar="N",
    help="Records in memory at a time.  [default: twice as many as --concurrency and --batch send at a time]",
)
@option(
    "--retries",
    group=_FAILURES,
    type=click.IntRange(0),
    default=5,
    show_default=True,
    metavar="N",
    help="How often to retry a request that was not answered (5xx, 408, 425, 429, no connection).",
)
@option(
    "--retry-for",
    group=_FAILURES,
    type=Duration(),
    default="1m",
    show_default=True,
    help="How long to go on retrying a request.",
)
@option(
    "--dead-letter-topic",
    group=_FAILURES,
    metavar="NAME",
    help="Where to write records that the model refuses or does not answer.",
)
@option(
    "--dead-letter-config",
    group=_FAILURES,
    type=FILE,
    metavar="FILE",
    help="More settings for its producer.  [default: the consumer's connection settings]",
)
@option(
    "--on-refused",
    group=_FAILURES,
    type=_POLICY,
    help="What to do after a 4xx.  [default: dead-letter with a topic for it, else skip]",
)
@option(
    "--on-unanswered",
    group=_FAILURES,
    type=_POLICY,
    help="What to do after all retries.  [default: dead-letter with a topic for it, else stop]",
)
@option(
    "--redrive",
    group=_FAILURES,
    is_flag=True,
    help="Send the records now in the dead-letter topic to the model, then exit.",
)
@option(
    "--grace",
    group=_FAILURES,
    type=Duration(or_zero=True),
    default="30s",
    show_default=True,
    help="How long records under way may take to finish, at the end and before a partition moves to another bridge.",
)
@option(
    "--links",
    group=_TRACES,
    is_flag=True,
    help="Link to the producer's trace instead of continuing it.",
)
@option(
    "--trust-context",
    group=_TRACES,
    type=Choice(["yes", "no"]),
    default="yes",
    show_default=True,
    help="no: for records from strangers; each gets a new trace, linked to theirs, without their baggage.",
)
@model_access
@click.pass_obj
def bridge(
    obj: dict[str, bool],
    /,
    url: str,
    model: str | None,
    access: Callable[[], ModelAccess],
    consumer_config: str | None,
    dead_letter_config: str | None,
    trust_context: str,
    traces_file: str | None,
    **options: Any,
) -> None:
    """Consume a topic and send each record to a model, until Ctrl-C. Prints one JSON object per record.

    An offset is committed after its record was answered, written to the dead-letter topic or skipped, so no record is
    lost. If the model's server refuses a record (4xx), the bridge reports and skips it. If the server can't be reached
    or fails despite all retries, the bridge exits with 1 and leaves the record uncommitted. With a dead-letter topic,
    it writes both kinds there. On Ctrl-C or SIGTERM, records under way may finish; a second signal does not wait.
    """
    from otel_kfs.bridge.loop import Answer, Bridge
    from otel_kfs.bridge.outcomes import as_json
    from otel_kfs.client.model_request.model_url import predict_url

    if not options["bootstrap_servers"].strip():
        raise click.BadParameter("it is empty: give host:port,...", param_hint="'--bootstrap-servers'")
    if options["redrive"] and (options["topics"] or not options["dead_letter_topic"]):
        raise click.UsageError("--redrive reads the --dead-letter-topic: give that, and no --topic")
    if not options["redrive"] and not options["topics"]:
        raise click.UsageError("nothing to consume: give --topic")

    def report(answer: Answer) -> None:
        click.echo(as_json(answer))
        if answer.refused:
            place = f"{answer.topic}[{answer.partition}]@{answer.offset}"
            say(f"{answer.outcome}: {place}: {answer.refused}")

    with _signals(options["grace"] + _CLOSE_SECONDS) as signals:
        from otel_kfs.telemetry import provider

        provider.configure_command("kafka-bridge", traces_file=traces_file)
        running = Bridge(
            url=predict_url(url, model),
            config=properties(consumer_config),
            dead_letter_config=properties(dead_letter_config) if dead_letter_config else None,
            trust_context=trust_context == "yes",
            session=lambda: access().session(),
            **options,
        )
        if not obj["quiet"]:
            topics = ", ".join(options["topics"])
            what = f"redriving {options['dead_letter_topic']}" if options["redrive"] else f"consuming {topics}"
            say(f"{what} as group {options['group']}; Ctrl-C stops")
        try:
            running.run(report, signals.stop)
        finally:
            if not obj["quiet"]:
                say(str(running.stats))
    if signals.received is not None:
        sys.exit(128 + signals.received)  # as a shell reports a program that this signal ended


class _Signals:
    """An event that the first SIGTERM or Ctrl-C sets; a second one ends the process at once."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.received: int | None = None

    def receive(self, number: int, _: object = None) -> None:
        """Take one that has come."""
        if self.received is not None:
            os._exit(128 + number)
        self.received = number
        self.stop.set()


@contextmanager
def _signals(seconds: float) -> Iterator[_Signals]:
    """Take signals until the end of the `with`; `seconds` after the first, the process ends whatever it is doing.

    A thread waits for them, since the main thread may be deep in librdkafka, where Python handles no signal. Enter it
    before there are other threads: those that exist already may still be handed a signal.
    """
    signals, over, numbers = _Signals(), threading.Event(), {signal.SIGTERM, signal.SIGINT}

    def wait() -> None:
        until = math.inf
        while not over.is_set():
            info = signal.sigtimedwait(numbers, _LOOK_SECONDS)
            # Cut short, as in a process that was stopped for a while, it returns offsets that were never filled in.
            if info is not None and info.si_signo in numbers:
                signals.receive(info.si_signo)
            if signals.received is not None:
                until = min(until, time.monotonic() + seconds)
            if time.monotonic() > until:
                say(f"not ended within {seconds:g} s")
                os._exit(128 + (signals.received or 0))

    can_wait = hasattr(signal, "sigtimedwait")  # not on macOS: there, a signal waits for the main thread
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, numbers if can_wait else ())
    handlers = {number: signal.signal(number, signals.receive) for number in numbers}
    thread = threading.Thread(target=wait if can_wait else over.wait, daemon=True)
    thread.start()
    try:
        yield signals
    finally:
        over.set()
        thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for number, handler in handlers.items():
            # After the first, the second still ends the process, while the last spans are written.
            signal.signal(number, handler if signals.received is None else signal.SIG_DFL)
