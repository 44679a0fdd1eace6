"""A shop, for docs/reading-traces.md: orders are paid, wait for a packer, and are packed.

python shop.py orders.jsonl
"""

import queue
import random
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

ORDERS = [(2, "card"), (2, "invoice"), (9, "card"), (2, "card"), (9, "invoice"), (9, "card"), (2, "card"), (9, "card")]


def service(name: str, file: TextIO) -> TracerProvider:
    """Return the tracer provider of one of the shop's services, all of which stand on one host."""
    provider = TracerProvider(resource=Resource({"service.name": name, "host.name": "shop-1"}))
    provider.add_span_processor(BatchSpanProcessor(FileSpanExporter(stream=file)))
    return provider


def check_out(tracer: trace.Tracer, to_pack: queue.Queue, items: int, method: str) -> None:
    """Take an order: have it paid, and put it into the packers' queue."""
    with tracer.start_as_current_span(
        "POST /orders", kind=SpanKind.SERVER, attributes={"order.items": items, "payment.method": method}
    ):
        with tracer.start_as_current_span("charge", kind=SpanKind.CLIENT, attributes={"payment.method": method}):
            time.sleep(0.03 if method == "card" else 0.005)
        with tracer.start_as_current_span("send orders", kind=SpanKind.PRODUCER):
            to_pack.put((context.get_current(), items))


def pack(tracer: trace.Tracer, to_pack: queue.Queue) -> None:
    """Pack what is in the queue, one order after the other, and print the labels."""
    while (order := to_pack.get()) is not None:
        parent, items = order
        with tracer.start_as_current_span("process orders", parent, SpanKind.CONSUMER):
            with tracer.start_as_current_span("pack"):
                time.sleep(0.004 * items * random.uniform(1, 1.3))  # noqa: S311
            with tracer.start_as_current_span("print label"):
                time.sleep(0.002)


def main(path: Path) -> None:
    """Take the orders, pack them, and write the spans of all to a file."""
    with path.open("w", encoding="utf-8") as file:
        shop, packers = service("shop", file), service("packers", file)
        to_pack: queue.Queue = queue.Queue()
        packer = threading.Thread(target=pack, args=(packers.get_tracer("packers"), to_pack))
        packer.start()
        for items, method in ORDERS:
            check_out(shop.get_tracer("shop"), to_pack, items, method)
        to_pack.put(None)
        packer.join()
        shop.shutdown()
        packers.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
