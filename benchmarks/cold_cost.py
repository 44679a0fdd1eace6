"""What a span costs right after a model has run, when the processor's caches hold the model's data and not the code.

    .venv-kserve/bin/python benchmarks/cold_cost.py [--rounds 100]

Each case runs hot, many times in a row, and cold, once after each time that 16 MB were sorted and 100,000 numbers
written as text, which is what lies between two spans of a server. A figure is the thread's CPU time in microseconds,
the median over the rounds, with quartiles. The requests are answered by a FastAPI application that does nothing
(KServe's servers are FastAPI's), with and without OpenTelemetry's own instrumentation of FastAPI.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.version import __version__
from quartiles import quartiles

Once = Callable[[], Awaitable[None]]

WARMUPS = 50
HEADERS = {
    "host": "127.0.0.1:8080",
    "user-agent": "python-requests/2.32",
    "content-type": "application/json",
    "content-length": "1000",
    "traceparent": "00-40c76596ec5e1c132dd6f13f10f09ca1-b4b0f6d03fe7f766-01",
}


class Null(SpanExporter):
    """Exports nothing."""

    def export(self, _: Any) -> SpanExportResult:
        """Nothing to do."""
        return SpanExportResult.SUCCESS


def four_spans(provider: TracerProvider) -> Once:
    """Four spans of the SDK with an attribute each."""
    tracer = provider.get_tracer("bare")

    async def once() -> None:
        for _ in range(4):
            tracer.start_span("preprocess", attributes={"otel_kfs.role": "predictor"}).end()

    return once


def fastapi(provider: TracerProvider | None) -> Once:
    """One request to FastAPI, as uvicorn makes it of one; with a provider it is instrumented."""
    from fastapi import FastAPI, Request
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    app = FastAPI()

    @app.post("/v1/models/{model}:predict")
    async def predict(request: Request) -> dict[str, int]:
        return {"size": len(await request.body())}

    predict.__annotations__["request"] = Request
    if provider is not None:
        FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["receive", "send"])
    body = {"type": "http.request", "body": bytes(1000), "more_body": False}

    async def receive() -> dict[str, Any]:
        return body

    async def send(_: Any) -> None:
        pass

    async def once() -> None:
        scope = {
            **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http"},
            **{"path": "/v1/models/mobilenet:predict", "raw_path": b"/v1/models/mobilenet:predict", "root_path": ""},
            **{"query_string": b"", "client": ("127.0.0.1", 1234), "server": ("127.0.0.1", 8080), "state": {}},
            "headers": [(key.encode(), value.encode()) for key, value in HEADERS.items()],
        }
        await app(scope, receive, send)

    return once


def spoil_caches() -> None:
    """Do what a model server does between two spans: work through a large array, and write numbers as text."""
    np.random.default_rng(1).random(2_000_000).sort()
    str(list(range(100_000)))


async def measured(once: Once, rounds: int, *, cold: bool) -> list[float]:
    """Microseconds of CPU."""
    for _ in range(WARMUPS):
        await once()
    found = []
    for _ in range(rounds):
        if cold:
            spoil_caches()
        start = time.thread_time_ns()
        await once()
        found.append((time.thread_time_ns() - start) / 1000)
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Null(), max_queue_size=1_000_000))
    # Not the process's own provider: with one, newer versions of FastAPI make spans by themselves.
    cases = {
        "four bare spans of the SDK": four_spans(provider),
        "a request to FastAPI": fastapi(None),
        "the same with its instrumentation": fastapi(provider),
    }
    print(f"Python {platform.python_version()}, OpenTelemetry {__version__}, {rounds} rounds; us of CPU, median\n")
    print("| case | hot | cold | cold / hot |")
    print("|---|---|---|---|")
    for name, once in cases.items():
        hot, cold = [quartiles(await measured(once, rounds, cold=cold)) for cold in (False, True)]
        cells = [f"{middle:.0f} ({low:.0f} - {high:.0f})" for low, middle, high in (hot, cold)]
        print(f"| {' | '.join([name, *cells])} | {cold[1] / hot[1]:.1f} |")


if __name__ == "__main__":
    asyncio.run(main())
