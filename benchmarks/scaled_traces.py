"""Writes as many traces as are wanted in the shape of a saved run: real spans, with ids and times of their own.

    python benchmarks/scaled_traces.py --spans 1000000 FOLDER

FOLDER/processes gets one file a process, as the SDK's file exporter writes it: at most 512 spans a line, grouped by
scope. FOLDER/collector gets one file for all of them, as the Collector's batch processor (8192 spans) and its file
exporter do. The pattern is tests/data/traces; each image's times are stretched by a random factor, and its size is
one of four.

FOLDER/jaeger gets a tenth of them as one document of Jaeger's UI and older API, FOLDER/tempo a tenth as Tempo's answers
for one trace each, a line an answer.

FOLDER/jittered, a file a process, has images that differ more: each span has a length of its own, a hundredth of the
spans is missing, and one image in five has a span of another program somewhere in it.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
from collections.abc import Iterable, Iterator
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
    id: str
    parent: str
    start: int  # ns after the image's
    end: int
    parts: list[str]  # JSON, between the values below
    values: list[tuple[str, Any]]


def patterns() -> tuple[dict[str, str], list[list[Pattern]]]:
    """Return the processes' resources as JSON, and the spans of each measured image of the pattern, by their end."""
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
        images.append([_pattern(process, scope, span, first) for process, scope, span in of_trace])
    return resources, images


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _pattern(process: str, scope: str, span: dict[str, Any], first: int) -> Pattern:
    start, end = int(span["startTimeUnixNano"]) - first, int(span["endTimeUnixNano"]) - first
    return Pattern(process, scope, span["spanId"], span.get("parentSpanId", ""), start, end, *_split(span))


def _split(span: dict[str, Any]) -> tuple[list[str], list[tuple[str, Any]]]:
    values: list[tuple[str, Any]] = []

    def mark(kind: str, value: Any) -> str:
        values.append((kind, value))
        return f"\0{len(values) - 1}\0"

    copy = json.loads(json.dumps(span))
    copy["traceId"] = mark("trace", copy["traceId"])
    copy["spanId"] = mark("span", copy["spanId"])
    if copy.get("parentSpanId"):
        copy["parentSpanId"] = mark("span", copy["parentSpanId"])
    copy["startTimeUnixNano"], copy["endTimeUnixNano"] = mark("start", None), mark("end", None)
    for attribute in copy.get("attributes", ()):
        if attribute["key"] == "otel_kfs.image.size":
            attribute["value"]["intValue"] = mark("size", None)
    for link in copy.get("links", ()):
        link["traceId"], link["spanId"] = mark("trace", link["traceId"]), mark("span", link["spanId"])
    pieces = json.dumps(copy, separators=(",", ":"), ensure_ascii=False).replace("\\u0000", "\0").split("\0")
    return pieces[::2], [values[int(number)] for number in pieces[1::2]]


Times = dict[str, tuple[int, int]]  # start and end of each span of an image, by its id in the pattern


def scaled(pattern: list[Pattern], random_: random.Random) -> Times:
    """All times of an image by one factor."""
    factor = random_.lognormvariate(0, 0.2)
    return {span.id: (int(span.start * factor), int(span.end * factor)) for span in pattern}


def jittered(pattern: list[Pattern], random_: random.Random) -> Times:
    """Each length, and each pause between two spans, by a factor of its own; what caused what stays in order."""
    ids = {span.id for span in pattern}
    children: dict[str, list[Pattern]] = {}
    for span in sorted(pattern, key=lambda span: span.start):
        children.setdefault(span.parent if span.parent in ids else "", []).append(span)
    times: Times = {}

    def stretched(length: int) -> int:
        return int(length * random_.lognormvariate(0, 0.2))

    def place(span: Pattern, start: int, above: list[Pattern]) -> list[Pattern]:
        """Return it and all its descendants."""
        times[span.id] = start, start + stretched(span.end - span.start)
        below: list[Pattern] = []
        placed: list[Pattern] = []
        for child in children.get(span.id, ()):
            before = max((one for one in placed if one.end <= child.start), key=lambda one: one.end, default=None)
            if before is not None:
                at = times[before.id][1] + stretched(child.start - before.end)
            elif child.start >= span.end:
                at = times[span.id][1] + stretched(child.start - span.end)
            else:
                at = start + stretched(child.start - span.start)
            # A server's `receive` begins before the server's span, but not before the request.
            began = (times[one.id][0] for one in (*above, span) if one.start <= child.start)
            below += place(child, max(at, *began), [*above, span])
            placed.append(child)
            ended = [times[one.id][1] for one in below if one.end <= span.end]
            times[span.id] = start, max(times[span.id][1], *ended, start)
        return [*below, span]

    for span in children[""]:
        place(span, span.start, [])
    return times


MISSING, FOREIGN = 0.01, 0.2  # of the spans, of the images


def spans(total: int, seed: int = 1, *, jitter: bool = False) -> Iterator[tuple[str, str, str]]:
    """Process, scope and JSON of each span, about in the order of their ends."""
    _, images = patterns()
    random_ = random.Random(seed)
    made, image = 0, 0
    while made < total:
        pattern = images[image % len(images)]
        ids: dict[str, str] = {}
        start = START + image * 300_000_000
        times = jittered(pattern, random_) if jitter else scaled(pattern, random_)
        size = str(random_.choice(SIZES))
        image += 1
        for span in pattern:
            if jitter and random_.random() < MISSING:
                continue
            text = [span.parts[0]]
            for (kind, value), part in zip(span.values, span.parts[1:], strict=True):
                if kind in {"start", "end"}:
                    text.append(str(start + times[span.id][kind == "end"]))
                elif kind == "size":
                    text.append(size)
                else:
                    if value not in ids:
                        ids[value] = random_.randbytes(16 if kind == "trace" else 8).hex()
                    text.append(ids[value])
                text.append(part)
            yield span.process, span.scope, "".join(text)
            made += 1
        if jitter and random_.random() < FOREIGN and (above := random_.choice(pattern)).id in ids:
            yield _foreign(above, pattern, ids, start, random_)
            made += 1


def _foreign(
    above: Pattern, pattern: list[Pattern], ids: dict[str, str], start: int, random_: random.Random
) -> tuple[str, str, str]:
    """Return a span of another program, somewhere in the image."""
    trace = next(value for kind, value in above.values if kind == "trace")
    one, two = sorted(start + random_.randrange(max(span.end for span in pattern)) for _ in range(2))
    span = {
        "traceId": ids[trace],
        "spanId": random_.randbytes(8).hex(),
        "parentSpanId": ids[above.id],
        "name": "look up",
        "kind": 1,
        "startTimeUnixNano": str(one),
        "endTimeUnixNano": str(two),
        "status": {},
    }
    return above.process, _json({"name": "another.library"}), _json(span)


def write(folder: Path, total: int) -> None:
    """Write all forms."""
    _write_answers(folder, spans(total // 10))
    _write(folder / "processes", folder / "collector", spans(total))
    _write(folder / "jittered", None, spans(total, jitter=True))


def _write(of_processes: Path, of_collector: Path | None, made: Iterable[tuple[str, str, str]]) -> None:
    """Write the same spans as each process would, and as the Collector would."""
    resources, _ = patterns()
    for form in filter(None, (of_processes, of_collector)):
        form.mkdir(parents=True, exist_ok=True)
    files = {process: (of_processes / f"{process}.jsonl").open("w") for process in resources}
    collector = None if of_collector is None else (of_collector / "traces.jsonl").open("w")
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
        if batch and collector is not None:
            collector.write(f'{{"resourceSpans":[{",".join(batch)}]}}\n')
        batch.clear()
        batched = 0

    for process, scope, span in made:
        waiting[process].append((scope, span))
        if len(waiting[process]) == EXPORT:
            export(process)
    for process in resources:
        export(process)
    flush()
    for file in filter(None, (*files.values(), collector)):
        file.close()


def _write_answers(folder: Path, made: Iterable[tuple[str, str, str]]) -> None:
    """Write the same spans as Jaeger and Tempo would return them, trace by trace."""
    resources = {process: json.loads(resource) for process, resource in patterns()[0].items()}
    traces: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for process, scope, text in made:
        span = json.loads(text)
        traces.setdefault(span["traceId"], []).append((process, scope, span))
    for form in ("jaeger", "tempo"):
        (folder / form).mkdir(parents=True, exist_ok=True)
    of_jaeger = {"data": [_of_jaeger(trace_id, found, resources) for trace_id, found in traces.items()]}
    (folder / "jaeger/traces.json").write_text(_json(of_jaeger))
    with (folder / "tempo/traces.jsonl").open("w") as lines:
        lines.writelines(_json(_of_tempo(found, resources)) + "\n" for found in traces.values())


_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


def _of_jaeger(
    trace_id: str, found: list[tuple[str, str, dict[str, Any]]], resources: dict[str, Any]
) -> dict[str, Any]:
    numbers = {process: f"p{number}" for number, process in enumerate(dict.fromkeys(one[0] for one in found), 1)}

    def tags(attributes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        types = {"stringValue": "string", "intValue": "int64", "boolValue": "bool", "doubleValue": "float64"}
        made = []
        for attribute in attributes:
            [(kind, value)] = attribute["value"].items()
            tag = {"key": attribute["key"], "type": types.get(kind, "string")}
            made.append({**tag, "value": int(value) if kind == "intValue" else value})
        return made

    def of_span(process: str, scope: str, span: dict[str, Any]) -> dict[str, Any]:
        start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
        references = [
            {"refType": "FOLLOWS_FROM", "traceID": one["traceId"], "spanID": one["spanId"]}
            for one in span.get("links", ())
        ]
        if span.get("parentSpanId"):
            references.insert(0, {"refType": "CHILD_OF", "traceID": trace_id, "spanID": span["parentSpanId"]})
        more = [
            {"key": "otel.scope.name", "type": "string", "value": json.loads(scope)["name"]},
            {"key": "span.kind", "type": "string", "value": _KINDS[span.get("kind", 0)]},
        ]
        return {
            "traceID": trace_id,
            "spanID": span["spanId"],
            "operationName": span["name"],
            "references": references,
            "startTime": start // 1000,
            "duration": (end - start) // 1000,
            "tags": [*more, *tags(span.get("attributes", ()))],
            "logs": [],
            "processID": numbers[process],
            "warnings": None,
        }

    processes = {}
    for process, number in numbers.items():
        attributes = resources[process]["attributes"]
        service = next(one["value"]["stringValue"] for one in attributes if one["key"] == "service.name")
        processes[number] = {
            "serviceName": service,
            "tags": tags(one for one in attributes if one["key"] != "service.name"),
        }
    return {"traceID": trace_id, "spans": [of_span(*one) for one in found], "processes": processes, "warnings": None}


def _of_tempo(found: list[tuple[str, str, dict[str, Any]]], resources: dict[str, Any]) -> dict[str, Any]:
    def in_base64(key: str, value: Any) -> Any:
        return (
            base64.b64encode(bytes.fromhex(value)).decode() if key in {"traceId", "spanId", "parentSpanId"} else value
        )

    by_process: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for process, scope, span in found:
        written = {key: in_base64(key, value) for key, value in span.items()}
        written["kind"] = f"SPAN_KIND_{_KINDS[span.get('kind', 0)].upper()}"
        if "links" in span:
            written["links"] = [{key: in_base64(key, value) for key, value in one.items()} for one in span["links"]]
        by_process.setdefault(process, {}).setdefault(scope, []).append(written)
    return {
        "trace": {
            "resourceSpans": [
                {
                    "resource": resources[process],
                    "scopeSpans": [{"scope": json.loads(scope), "spans": written} for scope, written in scopes.items()],
                }
                for process, scopes in by_process.items()
            ]
        }
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spans", type=int, default=1_000_000)
    options = parser.parse_args()
    write(options.folder, options.spans)


if __name__ == "__main__":
    main()
