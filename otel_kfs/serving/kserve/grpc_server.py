"""KServe's gRPC: a SERVER span for each inference call, and the context to the predictor over gRPC.

Source: Open Inference Protocol's `GRPCInferenceService`, and OpenTelemetry's semantic conventions for RPC.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from otel_kfs import semconv
from otel_kfs.serving.model_spans import Current, received, tracer
from otel_kfs.serving.server_errors import guard_span, is_news, never_raises
from otel_kfs.telemetry.patches import Patches
from otel_kfs.telemetry.provider import report_failure

METHOD = "inference.GRPCInferenceService/ModelInfer"
_NOT_TRACED = {
    f"/inference.GRPCInferenceService/{name}"
    for name in ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata")
}
ATTRIBUTES = {semconv.RPC_SYSTEM_NAME: semconv.GRPC, semconv.RPC_METHOD: METHOD}

# The others are the caller's mistakes, which do not make a server's span an error.
_SERVER_ERRORS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


def instrument(patches: Patches) -> None:
    """Trace the calls that this process's ModelServer answers over gRPC, and those to a predictor."""
    from kserve.inference_client import InferenceGRPCClient
    from kserve.protocol.grpc import server

    patches.set(server, "aio", _Aio(server.aio, patches))
    patches.set(InferenceGRPCClient, "infer", _traced_infer(InferenceGRPCClient.infer))


class _Aio:
    """`grpc.aio` as KServe's server module sees it: its servers have our interceptor before all others but contrib's.

    Health and metadata calls are answered without spans, whoever instrumented the server.
    """

    def __init__(self, aio: Any, patches: Patches) -> None:
        self._aio = aio
        self._patches = patches

    def __getattr__(self, name: str) -> Any:
        return getattr(self._aio, name)

    def server(self, *args: Any, interceptors: Iterable[Any] = (), **kwargs: Any) -> Any:
        never_raises("health calls")(self._leave_out_health)()
        return self._aio.server(*args, interceptors=(Interceptor(), *interceptors), **kwargs)

    def _leave_out_health(self) -> None:
        contrib = sys.modules.get("opentelemetry.instrumentation.grpc")
        if contrib is None:
            return
        cls = type(contrib.aio_server_interceptor())
        original = cls.intercept_service
        if hasattr(original, "__wrapped__"):
            return

        @functools.wraps(original)
        async def intercept_service(interceptor: Any, continuation: Any, details: Any) -> Any:
            if details.method in _NOT_TRACED:
                return await continuation(details)
            return await original(interceptor, continuation, details)

        self._patches.set(cls, "intercept_service", intercept_service)


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Makes the SERVER span of an inference call, unless another instrumentation has, and its `receive` span.

    gRPC asks it when the call's metadata are there, the deserialiser runs when the whole message is.
    """

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of this one call."""
        headers_seen, outside = time.time_ns(), trace.get_current_span()
        handler = await continuation(details)
        if details.method != f"/{METHOD}" or handler is None or handler.request_deserializer is None:
            return handler
        arrived = (headers_seen, 0)

        def deserialize(message: bytes) -> Any:
            nonlocal arrived
            arrived = (time.time_ns(), len(message))
            return handler.request_deserializer(message)

        async def answer(request: Any, context: Any) -> Any:
            watched = _Context(context)
            with _Call(details, watched, headers_seen, outside):
                received(headers_seen, *arrived)
                return await handler.unary_unary(request, watched)

        return grpc.unary_unary_rpc_method_handler(answer, deserialize, handler.response_serializer)


class _Context:
    """A call's context that remembers with what status the call was aborted, which gRPC's own does not tell."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.aborted = (grpc.StatusCode.OK, "")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def abort(self, code: Any, details: str = "", *args: Any, **kwargs: Any) -> None:
        self.aborted = (code, details)
        await self._context.abort(code, details, *args, **kwargs)


class _Call:
    """The SERVER span of one call, current inside the `with`; `outside` is what was current when the call arrived."""

    def __init__(self, details: Any, context: _Context, headers_seen: int, outside: Span) -> None:
        self._details = details
        self._context = context
        self._headers_seen = headers_seen
        self._outside = outside
        self._span: Span | None = None
        self._token: Any = None

    def __enter__(self) -> None:
        current = trace.get_current_span()
        of_this_process = current.get_span_context()
        # Also where another's sampler dropped the call: asked a second time, it might take it.
        if current is not self._outside and of_this_process.is_valid and not of_this_process.is_remote:
            never_raises("another's span")(guard_span)(current)
            return
        try:
            metadata = self._details.invocation_metadata or ()
            carrier = {key: value for key, value in metadata if isinstance(value, str)}
            parent = propagate.extract(carrier, Context())
            self._token = otel_context.attach(parent)
            self._span = tracer().start_span(METHOD, parent, SpanKind.SERVER, ATTRIBUTES, None, self._headers_seen)
            otel_context.attach(trace.set_span_in_context(self._span))
        except Exception:
            report_failure("the start of a gRPC call")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._token is not None:
            otel_context.detach(self._token)
        if self._span is not None:
            _end(self._span, self._context, error)


@never_raises("the end of a gRPC call")
def _end(span: Span, context: _Context, error: BaseException | None) -> None:
    code, details = context.aborted[0].name, context.aborted[1]
    if error is not None and code == "OK":
        code = "UNKNOWN" if isinstance(error, Exception) else "CANCELLED"
    span.set_attribute(semconv.RPC_RESPONSE_STATUS_CODE, code)
    if code in _SERVER_ERRORS:
        span.set_attribute(semconv.ERROR_TYPE, code)
        span.set_status(Status(StatusCode.ERROR, f"{code}: {details}"))
    if isinstance(error, Exception) and is_news(error, span):
        span.record_exception(error.__context__ or error)
    span.end()


def _traced_infer(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(original)
    async def infer(client: Any, *args: Any, **kwargs: Any) -> Any:
        if _is_traced_by_another():
            return await original(client, *args, **kwargs)
        with Current(lambda: tracer().start_span(METHOD, None, SpanKind.CLIENT, ATTRIBUTES)) as span:
            if len(args) > 2:
                args = (*args[:2], _with_context(args[2]), *args[3:])
            else:
                kwargs["headers"] = _with_context(kwargs.get("headers"))
            try:
                answer = await original(client, *args, **kwargs)
            except grpc.RpcError as error:
                _mark_answer(span, error)
                raise
            span.set_attribute(semconv.RPC_RESPONSE_STATUS_CODE, "OK")
            return answer

    return infer


def _with_context(headers: Any) -> Any:
    """The metadata with the current context among them, in the place of one that was there before."""
    carrier: dict[str, str] = {}
    try:
        propagate.inject(carrier)
        return (*((key, value) for key, value in headers or () if key not in carrier), *carrier.items())
    except Exception:
        report_failure("the metadata of a gRPC call")
        return headers


@never_raises("the answer of a gRPC call")
def _mark_answer(span: Span, error: Any) -> None:
    span.set_attribute(semconv.RPC_RESPONSE_STATUS_CODE, error.code().name)


def _is_traced_by_another() -> bool:
    contrib = sys.modules.get("opentelemetry.instrumentation.grpc")
    return contrib is not None and contrib.GrpcAioInstrumentorClient().is_instrumented_by_opentelemetry
