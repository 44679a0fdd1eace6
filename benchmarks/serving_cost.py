"""What tracing a model's request costs, beside bare spans of the SDK with the same names and attributes.

    python benchmarks/serving_cost.py [--rounds 60] [--requests 300]

A request here is what a server does with a traced model: the body's arrival is known, then `preprocess`, `predict` and
`postprocess` run, which do nothing. Ours are four spans: `decode` and the three steps. Each round runs every case once,
in an order of its own, on one thread; a figure is that thread's CPU time per request (the exporter's thread is not in
it), the median over the rounds. A ratio is the median of the rounds' ratios, with its quartiles. It needs no model
server: neither SDK has a part in it.

The second table is of answers that are streamed in 500 pieces, each a chunk of a chat: what a piece costs more than
without tracing, in the thread that streams, which is what delays a piece, and in the whole process. The span is in both
figures; metrics are recorded by a thread of their own when the answer has ended, and spans exported by another.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.version import __version__
from quartiles import quartiles

from otel_kfs.serving import model_spans
from otel_kfs.serving.kserve import openai_calls
from otel_kfs.telemetry.gen_ai import gen_ai_metrics
from otel_kfs.telemetry.gen_ai.gen_ai_metrics import GenAIMetrics

STEP = {"otel_kfs.model.name": "mobilenet", "otel_kfs.role": "predictor"}
STEPS = ("preprocess", "predict", "postprocess")
PIECES = 500
PIECE = f"data: {json.dumps({'id': '1', 'model': 'm', 'choices': [{'index': 0, 'delta': {'content': 'word '}}]})}\n\n"


class _Null(SpanExporter):
    """Exports nothing."""

    def export(self, _: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class _Model:
    """A model that does nothing."""

    name = "mobilenet"

    def preprocess(self, request: Any) -> Any:
        return request

    def predict(self, request: Any) -> Any:
        return request

    def postprocess(self, request: Any) -> Any:
        return request


class _AsyncModel(_Model):
    """The same, with the step that servers mostly find asynchronous."""

    async def predict(self, request: Any) -> Any:  # type: ignore[override]
        return request


def sync_requests(model: _Model, requests: int, arrived: bool) -> None:
    for _ in range(requests):
        if arrived:
            model_spans._body_complete.set(1)
        model.postprocess(model.predict(model.preprocess(0)))


def async_requests(model: _AsyncModel, requests: int, arrived: bool) -> None:
    async def run() -> None:
        for _ in range(requests):
            if arrived:
                model_spans._body_complete.set(1)
            model.postprocess(await model.predict(model.preprocess(0)))

    asyncio.run(run())


def bare_requests(tracer: trace.Tracer, requests: int) -> None:
    """As one would write it: `decode` started with the time known, the steps as current spans."""
    for _ in range(requests):
        tracer.start_span("decode", start_time=1).end()
        for name in STEPS:
            with tracer.start_as_current_span(name, attributes=STEP):
                pass


def bare_uncurrent_requests(tracer: trace.Tracer, requests: int) -> None:
    """Create four spans at the least cost: none of them is current."""
    for _ in range(requests):
        tracer.start_span("decode", start_time=1).end()
        for name in STEPS:
            tracer.start_span(name, attributes=STEP).end()


def provider_with(sampler: Sampler) -> TracerProvider:
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_Null(), max_queue_size=1_000_000))
    return provider


def traced(model: Any) -> Any:
    model_spans.trace_steps(model, lambda _: "predictor")
    return model


class _Request:
    """What a chat's request says that is looked at."""

    def __init__(self) -> None:
        self.model = "m"
        self.stream = True


class _Chat:
    """A model that answers in pieces and does nothing else."""

    name = "m"

    async def create_chat_completion(self, _: Any) -> Any:
        return self._pieces()

    async def _pieces(self) -> Any:
        for _ in range(PIECES):
            yield PIECE


def streamed_answers(model: _Chat, answers: int) -> None:
    async def run() -> None:
        for _ in range(answers):
            async for _ in await model.create_chat_completion(_Request()):
                pass

    asyncio.run(run())


def stream_costs(rounds: int, answers: int = 4) -> dict[str, list[str]]:
    """Microseconds of CPU per piece: in the streaming thread, and how much more that is there and in the process."""
    plain, chat = type("Plain", (_Chat,), {})(), _Chat()
    model_spans.trace_steps(chat, lambda _: "predictor", None, openai_calls.OPERATIONS, openai_calls.OpenAICall)
    on, off, unmeasured = provider_with(ALWAYS_ON), provider_with(ALWAYS_OFF), openai_calls.metrics
    measured = GenAIMetrics(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False), of_server=True)
    todo: dict[str, tuple[Any, TracerProvider | None, GenAIMetrics]] = {
        "not traced": (plain, None, unmeasured),
        "sampled": (chat, on, unmeasured),
        "sampled, and measured": (chat, on, measured),
        "sampled out": (chat, off, unmeasured),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in todo}
    for number in range(rounds + 2):
        for name, (model, provider, openai_calls.metrics) in random.sample(list(todo.items()), len(todo)):
            model_spans.use_provider(provider)
            gc.collect()
            start = time.thread_time_ns(), time.process_time_ns()
            streamed_answers(model, answers)
            in_thread = time.thread_time_ns() - start[0]
            gen_ai_metrics.flush()
            took = in_thread, time.process_time_ns() - start[1]
            if number >= 2:
                found[name].append((took[0] / answers / PIECES / 1000, took[1] / answers / PIECES / 1000))
    openai_calls.metrics = unmeasured
    costs = {}
    for name, figures in found.items():
        cells = [f"{statistics.median(figure[0] for figure in figures):.2f}"]
        for where in (0, 1):
            more = [ours[where] - raw[where] for ours, raw in zip(figures, found["not traced"], strict=True)]
            low, middle, high = quartiles(more)
            cells.append(f"{middle:.2f} ({low:.2f} - {high:.2f})")
        costs[name] = cells
    return costs


Case = tuple[Callable[[int], None], TracerProvider | None]


def cases() -> dict[str, Case]:
    on, off = provider_with(ALWAYS_ON), provider_with(ALWAYS_OFF)
    found: dict[str, Case] = {
        "raw sync": (lambda n: sync_requests(_Model(), n, False), None),
        "raw async": (lambda n: async_requests(_AsyncModel(), n, False), None),
    }
    for label, provider in (("sampled", on), ("sampled out", off)):
        tracer = provider.get_tracer("bare")
        found[f"bare {label}"] = (lambda n, tracer=tracer: bare_requests(tracer, n), provider)
        found[f"uncurrent {label}"] = (lambda n, tracer=tracer: bare_uncurrent_requests(tracer, n), provider)
        sync_model, async_model = traced(_Model()), traced(_AsyncModel())
        found[f"sync {label}"] = (lambda n, model=sync_model: sync_requests(model, n, True), provider)
        found[f"async {label}"] = (lambda n, model=async_model: async_requests(model, n, True), provider)
    return found


def measure(rounds: int, requests: int) -> dict[str, list[float]]:
    """Microseconds of CPU per request of each case, round by round."""
    todo = cases()
    found: dict[str, list[float]] = {name: [] for name in todo}
    for number in range(rounds + 2):
        for name, (run, provider) in random.sample(list(todo.items()), len(todo)):
            model_spans.use_provider(provider)
            gc.collect()
            start = time.thread_time_ns()
            run(requests)
            took = time.thread_time_ns() - start
            if number >= 2:  # the first ones warm up
                found[name].append(took / requests / 1000)
    return found


def spread(ours: list[float], beside: list[float]) -> str:
    low, middle, high = quartiles(a / b for a, b in zip(ours, beside, strict=True))
    return f"{middle:.2f} ({low:.2f} - {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--requests", type=int, default=300)
    args = parser.parse_args()
    found = measure(args.rounds, args.requests)

    print(f"Python {platform.python_version()}, OpenTelemetry {__version__}, {args.rounds} rounds of ", end="")
    print(f"{args.requests} requests; us of CPU per request of four spans, median\n")
    print("| case | raw model | four bare spans | ours | ours / bare | ours / bare, none current | goal |")
    print("|---|---|---|---|---|---|---|")
    for kind in ("sync", "async"):
        for label, goal in (("sampled", "1.25"), ("sampled out", "")):
            ours, bare, least = (found[f"{name} {label}"] for name in (kind, "bare", "uncurrent"))
            figures = [f"{statistics.median(figure):.1f}" for figure in (found[f"raw {kind}"], bare, ours)]
            cells = [f"{kind} steps, {label}", *figures, spread(ours, bare), spread(ours, least), goal]
            print(f"| {' | '.join(cells)} |")

    print(f"\nus of CPU per piece of an answer of {PIECES}, median\n")
    print("| case | a piece | more than not traced | goal | the same, in the whole process |")
    print("|---|---|---|---|---|")
    goals = {"sampled": "5", "sampled, and measured": "5", "sampled out": "0"}
    for name, (figure, in_thread, in_process) in stream_costs(args.rounds).items():
        print(f"| {name} | {figure} | {in_thread} | {goals.get(name, '')} | {in_process} |")


if __name__ == "__main__":
    main()
