"""What tracing a record costs, beside a bare span of the SDK with the same attributes; prints one table.

    python benchmarks/kafka_cost.py [--rounds 100] [--records 200]

In each round every row runs its cases back to back, in an order drawn anew, on one thread. A figure is that thread's
CPU time per record, the median over the rounds, in microseconds; waiting for the broker, librdkafka's threads and the
exporter's thread are not in it. A ratio is the median of the rounds' own ratios, with its quartiles. The broker is
librdkafka's mock cluster, inside this process; garbage is collected before each case, and as ever during it.

`bare` is start_span(kind, attributes), set_attributes(partition, offset), end(): the SDK alone, no client. `ours` is
all that `produce` does until the delivery report has been handled, the client's own part included: its ratio is given
once as it is, and once without `raw`, the same record by the real class with a header and a callback, which whoever
propagates a context and awaits reports needs anyway. (`plain` is without these two.) `least` is the shortest program of
one's own that makes the same span and header, and ends it with the report.
"""

from __future__ import annotations

import argparse
import gc
import platform
import random
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import confluent_kafka
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON, ParentBasedTraceIdRatio, Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from otel_kfs.kafka import Producer, client_telemetry, process
from otel_kfs.kafka.headers import extract, inject, inject_alone

TOPIC, GROUP, VALUE = "t", "g", bytes(100)
CLUSTER = {"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "linger.ms": 1000, "log_level": 0}

SEND = {
    "messaging.system": "kafka",
    "messaging.operation.name": "send",
    "messaging.operation.type": "send",
    "messaging.destination.name": TOPIC,
    "server.address": "mock",
    "server.port": 9092,
    "messaging.message.body.size": 100,
}
DELIVERED = {"messaging.destination.partition.id": "0", "messaging.kafka.offset": 1}
PROCESS = {
    "messaging.system": "kafka",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.consumer.group.name": GROUP,
    "messaging.destination.name": TOPIC,
    "messaging.message.body.size": 100,
    "messaging.destination.partition.id": "0",
    "messaging.kafka.offset": 1,
    "otel_kfs.record.timestamp": 1,
    "otel_kfs.record.timestamp.type": "CreateTime",
    "otel_kfs.queue.time": 1,
}


CASES = ("plain", "raw", "bare", "least", "ours")
Run = Callable[[int], None]  # runs so many records


class Null(SpanExporter):
    """Exports nothing."""

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002
        """Nothing to do."""
        return SpanExportResult.SUCCESS


def telemetry_with(sampler: Sampler, meter_provider: Any = None) -> tuple[client_telemetry.ClientTelemetry, Any]:
    """A Telemetry, and the bare tracer beside it, with a batch processor that exports nothing."""
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Null(), max_queue_size=1_000_000))
    return client_telemetry.ClientTelemetry(provider, meter_provider), provider.get_tracer("bare")


def span_of(sampled: bool) -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(0xA1B2, 0xC3D4, is_remote=False, trace_flags=TraceFlags(int(sampled))))


class Send:
    """Cases of `produce()`."""

    def __init__(self) -> None:
        self.raw_producer = confluent_kafka.Producer(CLUSTER)
        self.our_producer = Producer(CLUSTER)

    def raw(self, records: int) -> None:
        """The client alone."""
        for _ in range(records):
            self.raw_producer.produce(TOPIC, VALUE)
        self.raw_producer.flush()

    def raw_propagating(self, records: int) -> None:
        """With headers and a callback, as one needs them to propagate and to learn of the delivery."""
        headers = [("traceparent", b"00-0000000000000000000000000000a1b2-000000000000c3d4-01")]
        for _ in range(records):
            self.raw_producer.produce(TOPIC, VALUE, headers=headers, on_delivery=lambda *_: None)
        self.raw_producer.flush()

    def bare(self, tracer: Any, records: int) -> None:
        """The SDK alone."""
        for _ in range(records):
            span = tracer.start_span("send t", kind=SpanKind.PRODUCER, attributes=SEND)
            span.set_attributes(DELIVERED)
            span.end()

    def least(self, tracer: Any, records: int) -> None:
        """The least that propagates and lasts until the report: no registry, no guard, no metrics, no suppression."""

        class Report:
            __slots__ = ("span",)

            def __init__(self, span: Any) -> None:
                self.span = span

            def __call__(self, error: Any, record: Any) -> None:  # noqa: ARG002
                partition, offset = str(record.partition()), record.offset()
                self.span.set_attributes(dict(zip(DELIVERED, (partition, offset), strict=True)))
                self.span.end()

        for _ in range(records):
            span = tracer.start_span("send t", kind=SpanKind.PRODUCER, attributes=SEND)
            headers = inject_alone(None, span.get_span_context())
            self.raw_producer.produce(TOPIC, VALUE, headers=headers, on_delivery=Report(span))
        self.raw_producer.flush()

    def ours(self, records: int) -> None:
        """Ours."""
        for _ in range(records):
            self.our_producer.produce(TOPIC, VALUE)
        self.our_producer.flush()


class Process:
    """Cases of `with process(record)`; the bare span's context is extracted beforehand, ours extracts its own."""

    def __init__(self, sampled: bool) -> None:
        headers = inject(None, trace.set_span_in_context(span_of(sampled), Context()))
        kind = confluent_kafka.TIMESTAMP_CREATE_TIME
        self.record = confluent_kafka.Message(
            topic=TOPIC, partition=0, offset=1, value=VALUE, headers=headers, timestamp=(kind, 1)
        )
        self.context = extract(headers)

    def bare(self, tracer: Any, records: int) -> None:
        """The SDK alone."""
        for _ in range(records):
            with tracer.start_as_current_span(
                "process t", context=self.context, kind=SpanKind.CONSUMER, attributes=PROCESS
            ):
                pass

    def ours(self, records: int) -> None:
        """Ours."""
        for _ in range(records):
            with process(self.record, group=GROUP):
                pass


class Row(NamedTuple):
    """One line of the table: the cases to compare, and the telemetry and the current span under which they run."""

    name: str
    cases: dict[str, Run]
    in_use: client_telemetry.ClientTelemetry
    parent_sampled: bool | None = None  # None: there is no current span
    goal: str = ""


Found = dict[str, list[float]]


def measure(rows: list[Row], rounds: int, records: int) -> list[Found]:
    """Microseconds of CPU per record of each case of each row, round by round."""
    found: list[Found] = [{name: [] for name in row.cases} for row in rows]
    for number in range(rounds + 2):
        for row, times in random.sample(list(zip(rows, found, strict=True)), len(rows)):
            before = client_telemetry.use(row.in_use)
            for name, run in random.sample(list(row.cases.items()), len(row.cases)):
                gc.collect()
                with nullcontext() if row.parent_sampled is None else trace.use_span(span_of(row.parent_sampled)):
                    start = time.thread_time_ns()
                    run(records)
                    took = time.thread_time_ns() - start
                if number >= 2:  # the first ones warm up
                    times[name].append(took / records / 1000)
            client_telemetry.use(before)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--records", type=int, default=200)
    args = parser.parse_args()

    on, on_tracer = telemetry_with(DEFAULT_ON)
    off, off_tracer = telemetry_with(ALWAYS_OFF)
    ratio, ratio_tracer = telemetry_with(ParentBasedTraceIdRatio(1e-6))
    metered, _ = telemetry_with(DEFAULT_ON, MeterProvider([InMemoryMetricReader()]))
    send = Send()

    def sends(tracer: Any) -> dict[str, Run]:
        bare: Run = lambda records: send.bare(tracer, records)  # noqa: E731
        least: Run = lambda records: send.least(tracer, records)  # noqa: E731
        return {"plain": send.raw, "raw": send.raw_propagating, "bare": bare, "least": least, "ours": send.ours}

    def processes(sampled: bool) -> dict[str, Run]:
        of = Process(sampled)
        return {"bare": lambda records: of.bare(on_tracer, records), "ours": of.ours}

    rows = [
        Row("send, sampled", sends(on_tracer), on, goal="1.25"),
        Row("send, sampled, below a sampled span", sends(on_tracer), on, True, "1.25"),
        Row("send, sampled, with metrics", sends(on_tracer), metered),
        Row("send, below an unsampled span", sends(on_tracer), on, False, "1.00"),
        Row("send, sampler always_off", sends(off_tracer), off, goal="1.00"),
        Row("send, dropped by a ratio", sends(ratio_tracer), ratio, goal="1.00"),
        Row("process, sampled", processes(sampled=True), on, goal="1.25"),
        Row("process, unsampled", processes(sampled=False), on, goal="1.00"),
    ]
    found = measure(rows, args.rounds, args.records)

    print(f"Python {platform.python_version()}, confluent-kafka {confluent_kafka.__version__}, ", end="")
    print(f"{args.rounds} rounds of {args.records} records; us of CPU per record, median\n")
    print("| case | plain | raw | bare | least | ours | least / bare | ours / bare | (ours - raw) / bare | goal |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row, times in zip(rows, found, strict=True):
        figures = [f"{statistics.median(times[name]):.1f}" if name in times else "" for name in CASES]
        bare, ours = times["bare"], times["ours"]
        cells = ["", spread(ours, bare), ""]
        if "raw" in times:
            without_raw = [our - raw for our, raw in zip(ours, times["raw"], strict=True)]
            cells = [spread(times["least"], bare), spread(ours, bare), spread(without_raw, bare)]
        print(f"| {' | '.join([row.name, *figures, *cells, row.goal])} |")


def spread(these: list[float], those: list[float]) -> str:
    low, middle, high = statistics.quantiles([a / b for a, b in zip(these, those, strict=True)], n=4)
    return f"{middle:.2f} ({low:.2f} - {high:.2f})"


if __name__ == "__main__":
    main()
