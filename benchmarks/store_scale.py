"""How long reading many traces from a live store takes, beside one request for all of them and orjson.

    python benchmarks/store_scale.py [--spans 100000] [--rounds 3]

Starts the Jaeger of deploy/services (built the first time, which takes minutes), sends it spans of scaled_traces.py,
and reads them as `--trace-query jaeger:` does. Beside that stand one GET of Jaeger's v3 API for all traces and orjson
that parses its answer, in this process. A figure is the median over the rounds, in which the two take turns; the ratio
is the median of the rounds' own.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson
import requests
from scaled_traces import EXPORT, patterns, spans

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy" / "services"))

import service_stores

from otel_kfs.analysis import pipeline
from otel_kfs.traces import query

WINDOW = "start=2026-01-01T00:00:00Z&end=2027-01-01T00:00:00Z"


def exports(total: int) -> Iterator[bytes]:
    """Yield the spans as OTLP-JSON, a process at a time."""
    resources = {process: json.loads(resource) for process, resource in patterns()[0].items()}
    made = spans(total)
    while batch := list(islice(made, EXPORT)):
        by_process: dict[str, list[dict[str, object]]] = {}
        for process, _, span in batch:
            by_process.setdefault(process, []).append(json.loads(span))
        resource_spans = [
            {"resource": resources[process], "scopeSpans": [{"spans": found}]} for process, found in by_process.items()
        ]
        yield orjson.dumps({"resourceSpans": resource_spans})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with service_stores.jaeger() as jaeger, requests.Session() as session:
        for export in exports(options.spans):
            answer = session.post(
                f"{jaeger.otlp_http}/v1/traces", data=export, headers={"Content-Type": "application/json"}
            )
            answer.raise_for_status()
        parameters = {
            "query.service_name": "image-sender",
            "query.start_time_min": "2026-01-01T00:00:00Z",
            "query.start_time_max": "2027-01-01T00:00:00Z",
            "query.num_traces": options.spans,  # more than there are traces
            "query.raw_traces": "true",
        }
        times: dict[str, list[float]] = {"request": [], "orjson": [], "read": []}
        size = measured = 0
        for _ in range(options.rounds):
            start = time.perf_counter()
            answer = session.get(f"{jaeger.query_url}/api/v3/traces", params=parameters)
            answer.raise_for_status()
            content = answer.content
            times["request"].append(time.perf_counter() - start)
            start = time.perf_counter()
            orjson.loads(content)
            times["orjson"].append(time.perf_counter() - start)
            size = len(content)
            start = time.perf_counter()
            store = query.open_store(f"jaeger:{jaeger.query_url}?{WINDOW}")
            measured = pipeline.read(store).coverage.measured
            times["read"].append(time.perf_counter() - start)
    print(f"Python {platform.python_version()}, {options.rounds} rounds; {size / 1e6:.0f} MB, {measured} images")
    print("\n| | s |\n|:--|--:|")
    for name, found in times.items():
        print(f"| {name} | {statistics.median(found):.1f} |")
    ratios = [
        read / (one + two) for one, two, read in zip(times["request"], times["orjson"], times["read"], strict=True)
    ]
    print(f"\nread / (request + orjson): {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
