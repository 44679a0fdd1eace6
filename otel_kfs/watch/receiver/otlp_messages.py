"""OTLP's messages around the spans: requests in JSON as protobuf, answers, errors as both protocols have them.

Source: the OTLP specification, 1.10 (opentelemetry.io/docs/specs/otlp), and google.rpc's Status and RetryInfo.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from typing import Any

import orjson

from otel_kfs.traces.formats import otlp

_ID_KEYS = ("traceId", "spanId", "parentSpanId")


def protobuf_of_json(content: bytes) -> bytes:
    """Return an ExportTraceServiceRequest in JSON as one in protobuf.

    OTLP's JSON is protobuf's own but for the ids, which are hex there and base64 here.

    Raises:
        ValueError: it is none.
    """
    from google.protobuf.json_format import ParseDict, ParseError
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    try:
        document = orjson.loads(content)
        for resource_spans in document.get("resourceSpans") or ():
            resource_spans["scopeSpans"] = list(otlp.scopes_of(resource_spans))  # by their older name, too
            for scope_spans in resource_spans["scopeSpans"]:
                for span in scope_spans.get("spans") or ():
                    for holder in (span, *(span.get("links") or ())):
                        _encode_ids(holder)
        request: bytes = ParseDict(
            document, ExportTraceServiceRequest(), ignore_unknown_fields=True
        ).SerializeToString()
    except (orjson.JSONDecodeError, ParseError, AttributeError, TypeError, RecursionError, binascii.Error) as error:
        raise ValueError(str(error)) from error
    return request


def _encode_ids(holder: dict[str, Any]) -> None:
    for key in _ID_KEYS:
        if holder.get(key):
            holder[key] = base64.b64encode(bytes.fromhex(holder[key])).decode()


def response(left_out: Counter[str]) -> Any:
    """Return the ExportTraceServiceResponse to a request of which so many spans are left out for these reasons."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    answer = ExportTraceServiceResponse()
    if left_out:
        answer.partial_success.rejected_spans = left_out.total()
        answer.partial_success.error_message = "; ".join(f"{count} with {why}" for why, count in left_out.items())
    return answer


def status(code: int, message: str, retry_after: float | None = None) -> Any:
    """Return a google.rpc.Status; `retry_after`: seconds after which it may be tried again."""
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status

    found = Status(code=code, message=message)
    if retry_after is not None:
        info = RetryInfo()
        info.retry_delay.FromMilliseconds(round(1000 * retry_after))
        found.details.add().Pack(info)
    return found
