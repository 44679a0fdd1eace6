"""Jaeger's older JSON, which its UI downloads, too: times are whole microseconds.

Source: Jaeger's `model/json`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from otel_kfs import semconv
from otel_kfs.traces.span import Kind, Span

_KINDS = {kind.name.lower(): kind for kind in Kind}

Processes = Mapping[str, tuple[str, str]]  # an id, the service and the host


def readers(trace: dict[str, Any]) -> Iterator[Callable[[], Span]]:
    """For each span of one trace, what reads it."""
    processes = {
        key: (str(process.get("serviceName", "")), str(_tags(process.get("tags")).get(semconv.HOST_NAME, "")))
        for key, process in (trace.get("processes") or {}).items()
    }
    for span in trace["spans"] or ():
        yield partial(_span, span, processes)


def _span(span: dict[str, Any], processes: Processes) -> Span:
    attributes = _tags(span.get("tags"))
    service, host = processes.get(span.get("processID", ""), ("", ""))
    references = span.get("references") or ()
    parent = next(
        (r["spanID"] for r in references if r["refType"] == "CHILD_OF" and r["traceID"] == span["traceID"]), None
    )
    links = [reference for reference in references if reference["spanID"] != parent]
    start = _whole(span["startTime"]) * 1000
    return Span(
        trace_id=span["traceID"].lower().rjust(32, "0"),
        span_id=span["spanID"].lower().rjust(16, "0"),
        parent_id=parent and parent.lower().rjust(16, "0"),
        name=span["operationName"],
        kind=_KINDS.get(str(attributes.pop("span.kind", "")), Kind.INTERNAL),
        start=start,
        end=start + _whole(span["duration"]) * 1000,
        service=service,
        host=host,
        failed=attributes.pop("otel.status_code", None) == "ERROR" or attributes.pop("error", None) is True,
        attributes=attributes,
        links=tuple(link["spanID"].lower().rjust(16, "0") for link in links),
        linked_traces=tuple(link["traceID"].lower().rjust(32, "0") for link in links),
    )


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise TypeError(f"{type(number).__name__} where a number of microseconds should be")
    return number


def _tags(tags: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    return {tag["key"]: tag["value"] for tag in tags or ()}
