"""What tracing a record costs, beside a bare span of the SDK with the same attributes; prints one table.

    python benchmarks/kafka_cost.py [--rounds 100] [--records 200]

In each round every row runs its cases back to back, in an order drawn anew, on one thread. A figure is that thread's
CPU time per record, the median over the rounds, in microseconds; waiting for the broker, librdkafka's threads and the
exporter's thread are not in it. A ratio is the median of the rounds' own ratios, with its quartiles. The broker is
librdkafka's mock cluster, inside this process; garbage is collected before each case, and as ever during it.

`bare` is start_span(kind, attributes), set_attributes(partition, offset), end(): the SDK alone, no client. `plain` is
the real class alone, `raw` the same with a header and a callback, which whoever propagates a context and awaits reports
needs. `least` is the shortest program of one's own that makes the same span and header by OpenTelemetry's public calls,
and ends the span with the report; `ours` is all that `produce` does until the report has been handled. `contrib` is
OpenTelemetry's own instrumentation for confluent-kafka, whose span ends before the record is sent.
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
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.confluent_kafka import AutoInstrumentedProducer, ConfluentKafkaInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON, ParentBasedTraceIdRatio, Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags
from quartiles import quartiles

from otel_kfs.kafka import Producer, client_telemetry, process
from otel_kfs.kafka.headers import extract, inject

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


CASES = ("plain", "raw", "bare", "least", "ours", "contrib")
Run = Callable[[int], None]  # runs so many records


class Null(SpanExporter):
    """Exports nothing."""

    def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002
        """Export nothing."""
        return SpanExportResult.SUCCESS


def provider_with(sampler: Sampler) -> TracerProvider:
    """Make a provider with a batch processor that exports nothing."""
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Null(), max_queue_size=1_000_000))
    return provider


def span_of(sampled: bool) -> NonRecordingSpan:
    return NonRecordingSpan(SpanContext(0xA1B2, 0xC3D4, is_remote=False, trace_flags=TraceFlags(int(sampled))))


class Send:
    """Cases of `produce()`."""

    def __init__(self) -> None:
        self.raw_producer = confluent_kafka.Producer(CLUSTER)
        self.configured_producer = AutoInstrumentedProducer(CLUSTER)  # knows its configuration, so that it is on spans
        self.our_producer = Producer(CLUSTER)

    def raw(self, records: int) -> None:
        """Run the client alone."""
        for _ in range(records):
            self.raw_producer.produce(TOPIC, VALUE)
        self.raw_producer.flush()

    def raw_propagating(self, records: int) -> None:
        """Run it with headers and a callback, as one needs them to propagate and to learn of the delivery."""
        headers = [("traceparent", b"00-0000000000000000000000000000a1b2-000000000000c3d4-01")]
        for _ in range(records):
            self.raw_producer.produce(TOPIC, VALUE, headers=headers, on_delivery=lambda *_: None)
        self.raw_producer.flush()

    def bare(self, tracer: Any, records: int) -> None:
        """Run the SDK alone."""
        for _ in range(records):
            span = tracer.start_span("send t", kind=SpanKind.PRODUCER, attributes=SEND)
            span.set_attributes(DELIVERED)
            span.end()

    def least(self, tracer: Any, records: int) -> None:
        """Run the least that propagates and lasts until the report: no registry, no metrics, no suppression."""

        class Report:
            __slots__ = ("span",)

            def __init__(self, span: Any) -> None:
                self.span = span

            def __call__(self, error: Any, record: Any) -> None:  # noqa: ARG002
                partition, offset = DELIVERED
                self.span.set_attributes({partition: str(record.partition()), offset: record.offset()})
                self.span.end()

        for _ in range(records):
            span = tracer.start_span("send t", kind=SpanKind.PRODUCER, attributes=SEND)
            headers: dict[str, str] = {}
            propagate.inject(headers, trace.set_span_in_context(span))
            self.raw_producer.produce(TOPIC, VALUE, headers=headers, on_delivery=Report(span))
        self.raw_producer.flush()

    def contrib(self, provider: TracerProvider) -> Run:
        """Return what runs OpenTelemetry's own instrumentation, whose span ends before the record is sent."""
        producer = ConfluentKafkaInstrumentor.instrument_producer(self.configured_producer, provider)

        def run(records: int) -> None:
            for _ in range(records):
                producer.produce(TOPIC, VALUE)
            producer.flush()

        return run

    def ours(self, records: int) -> None:
        """Run ours."""
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
        """Run the SDK alone."""
        for _ in range(records):
            with tracer.start_as_current_span(
                "process t", context=self.context, kind=SpanKind.CONSUMER, attributes=PROCESS
            ):
                pass

    def least(self, tracer: Any, records: int) -> None:
        """Run the least that goes on with the record's trace."""
        for _ in range(records):
            headers = {key: value.decode() for key, value in self.record.headers()}
            context = propagate.extract(headers, Context())
            with tracer.start_as_current_span("process t", context=context, kind=SpanKind.CONSUMER, attributes=PROCESS):
                pass

    def ours(self, records: int) -> None:
        """Run ours."""
        for _ in range(records):
            with process(self.record, group=GROUP):
                pass


class Row(NamedTuple):
    """One line of the table: the cases to compare, and the telemetry and the current span under which they run."""

    name: str
    cases: dict[str, Run]
    in_use: client_telemetry.ClientTelemetry
    parent_sampled: bool | None = None  # None: there is no current span


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

    on, off, ratio = map(provider_with, (DEFAULT_ON, ALWAYS_OFF, ParentBasedTraceIdRatio(1e-6)))
    meters = MeterProvider([InMemoryMetricReader()])
    send = Send()

    def sends(name: str, provider: TracerProvider, parent_sampled: bool | None = None, meters: Any = None) -> Row:
        tracer = provider.get_tracer("bare")
        cases: dict[str, Run] = {
            "plain": send.raw,
            "raw": send.raw_propagating,
            "bare": lambda records: send.bare(tracer, records),
            "least": lambda records: send.least(tracer, records),
            "ours": send.ours,
            "contrib": send.contrib(provider),
        }
        return Row(f"send, {name}", cases, client_telemetry.ClientTelemetry(provider, meters), parent_sampled)

    def processes(name: str, sampled: bool) -> Row:
        of, tracer = Process(sampled), on.get_tracer("bare")
        cases: dict[str, Run] = {
            "bare": lambda records: of.bare(tracer, records),
            "least": lambda records: of.least(tracer, records),
            "ours": of.ours,
        }
        return Row(f"process, {name}", cases, client_telemetry.ClientTelemetry(on))

    rows = [
        sends("sampled", on),
        sends("sampled, below a sampled span", on, True),
        sends("sampled, with metrics", on, meters=meters),
        sends("below an unsampled span", on, False),
        sends("sampler always_off", off),
        sends("dropped by a ratio", ratio),
        processes("sampled", True),
        processes("unsampled", False),
    ]
    found = measure(rows, args.rounds, args.records)

    print(f"Python {platform.python_version()}, confluent-kafka {confluent_kafka.__version__}, ", end="")
    print(f"{args.rounds} rounds of {args.records} records; us of CPU per record, median\n")
    ratios = [("ours", "bare"), ("ours", "least"), ("contrib", "ours")]
    print("|".join(["", " case ", *(f" {name} " for name in CASES), *(f" {a} / {b} " for a, b in ratios), ""]))
    print("|---" * (1 + len(CASES) + len(ratios)) + "|")
    for row, times in zip(rows, found, strict=True):
        figures = [f"{statistics.median(times[name]):.1f}" if name in times else "" for name in CASES]
        spreads = [spread(times[a], times[b]) if a in times and b in times else "" for a, b in ratios]
        print(f"| {' | '.join([row.name, *figures, *spreads])} |")


def spread(these: list[float], those: list[float]) -> str:
    low, middle, high = quartiles(a / b for a, b in zip(these, those, strict=True))
    return f"{middle:.2f} ({low:.2f} - {high:.2f})"


if __name__ == "__main__":
    main()
