"""Writes as many traces as are wanted in the shape of a saved run: real spans, with ids and times of their own.

    python benchmarks/scaled_traces.py --spans 1000000 FOLDER

FOLDER/processes gets one file a process, as the SDK's file exporter writes it: at most 512 spans a line, grouped by
scope. FOLDER/collector gets one file for all of them, as the Collector's batch processor (8192 spans) and its file
exporter do. The pattern is tests/data/traces; each image's times are stretched by a random factor, and its size is
one of four.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PATTERN = Path(__file__).parent.parent / "tests/data/traces"
SIZES = [1_117_000, 3_336_000, 4_716_000, 10_236_000]  # bytes
EXPORT, BATCH = 512, 8192  # spans a line: the SDK's max_export_batch_size, the Collector's send_batch_size
START = 1_790_000_000_000_000_000  # ns


class Pattern(NamedTuple):
    """One span of the pattern: where it belongs, and its JSON with places for what differs."""

    process: str
    scope: str  # its JSON
    parts: list[str]  # JSON, between the values below
    values: list[tuple[str, Any]]


def patterns() -> tuple[dict[str, str], list[list[Pattern]]]:
    """The processes' resources as JSON, and for each measured image of the pattern its spans, by their end."""
    resources: dict[str, str] = {}
    found: list[tuple[str, str, dict[str, Any]]] = []
    for file in sorted(PATTERN.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                resources[file.stem] = _json(resource["resource"])
                for scope in resource["scopeSpans"]:
                    found += [(file.stem, _json(scope["scope"]), span) for span in scope["spans"]]
    roots = [
        span
        for *_, span in found
        if span["name"] == "send image" and "otel_kfs.warmup" not in _json(span.get("attributes"))
    ]
    images = []
    for root in roots:
        of_trace = [one for one in found if one[2]["traceId"] == root["traceId"]]
        ids = {span["spanId"] for *_, span in of_trace}
        of_trace += [  # the bridge's poll, in a trace of its own
            one
            for one in found
            if one not in of_trace and any(link["spanId"] in ids for link in one[2].get("links", ()))
        ]
        of_trace.sort(key=lambda one: int(one[2]["endTimeUnixNano"]))
        first = int(root["startTimeUnixNano"])
        images.append([Pattern(process, scope, *_split(span, first)) for process, scope, span in of_trace])
    return resources, images


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _split(span: dict[str, Any], first: int) -> tuple[list[str], list[tuple[str, Any]]]:
    values: list[tuple[str, Any]] = []

    def mark(kind: str, value: Any) -> str:
        values.append((kind, value))
        return f"\0{len(values) - 1}\0"

    copy = json.loads(json.dumps(span))
    copy["traceId"] = mark("trace", copy["traceId"])
    copy["spanId"] = mark("span", copy["spanId"])
    if copy.get("parentSpanId"):
        copy["parentSpanId"] = mark("span", copy["parentSpanId"])
    for key in ("startTimeUnixNano", "endTimeUnixNano"):
        copy[key] = mark("time", int(copy[key]) - first)
    for attribute in copy.get("attributes", ()):
        if attribute["key"] == "otel_kfs.image.size":
            attribute["value"]["intValue"] = mark("size", None)
    for link in copy.get("links", ()):
        link["traceId"], link["spanId"] = mark("trace", link["traceId"]), mark("span", link["spanId"])
    pieces = json.dumps(copy, separators=(",", ":"), ensure_ascii=False).replace("\\u0000", "\0").split("\0")
    return pieces[::2], [values[int(number)] for number in pieces[1::2]]


def spans(total: int, seed: int = 1) -> Iterator[tuple[str, str, str]]:
    """Process, scope and JSON of each span, about in the order of their ends."""
    _, images = patterns()
    random_ = random.Random(seed)
    made, image = 0, 0
    while made < total:
        pattern = images[image % len(images)]
        ids: dict[str, str] = {}
        start = START + image * 300_000_000
        factor = random_.lognormvariate(0, 0.2)
        size = str(random_.choice(SIZES))
        image += 1
        for process, scope, parts, values in pattern:
            text = [parts[0]]
            for (kind, value), part in zip(values, parts[1:], strict=True):
                if kind == "time":
                    text.append(str(start + int(value * factor)))
                elif kind == "size":
                    text.append(size)
                else:
                    if value not in ids:
                        ids[value] = random_.randbytes(16 if kind == "trace" else 8).hex()
                    text.append(ids[value])
                text.append(part)
            yield process, scope, "".join(text)
            made += 1


def write(folder: Path, total: int) -> None:
    """Write both forms."""
    resources, _ = patterns()
    for form in ("processes", "collector"):
        (folder / form).mkdir(parents=True, exist_ok=True)
    files = {process: (folder / "processes" / f"{process}.jsonl").open("w") for process in resources}
    collector = (folder / "collector" / "traces.jsonl").open("w")
    waiting: dict[str, list[tuple[str, str]]] = {process: [] for process in resources}
    batch: list[str] = []
    batched = 0

    def export(process: str) -> None:
        nonlocal batched
        by_scope: dict[str, list[str]] = {}
        for scope, span in waiting[process]:
            by_scope.setdefault(scope, []).append(span)
        scopes = ",".join(f'{{"scope":{scope},"spans":[{",".join(of)}]}}' for scope, of in by_scope.items())
        resource = f'{{"resource":{resources[process]},"scopeSpans":[{scopes}]}}'
        files[process].write(f'{{"resourceSpans":[{resource}]}}\n')
        batch.append(resource)
        batched += len(waiting[process])
        waiting[process].clear()
        if batched >= BATCH:
            flush()

    def flush() -> None:
        nonlocal batched
        if batch:
            collector.write(f'{{"resourceSpans":[{",".join(batch)}]}}\n')
        batch.clear()
        batched = 0

    for process, scope, span in spans(total):
        waiting[process].append((scope, span))
        if len(waiting[process]) == EXPORT:
            export(process)
    for process in resources:
        export(process)
    flush()
    for file in (*files.values(), collector):
        file.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spans", type=int, default=1_000_000)
    options = parser.parse_args()
    write(options.folder, options.spans)


if __name__ == "__main__":
    main()
