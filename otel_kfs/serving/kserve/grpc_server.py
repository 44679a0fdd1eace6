"""KServe's gRPC: a SERVER span for each inference call, and the context to the predictor over gRPC.

Source: Open Inference Protocol's `GRPCInferenceService`, and OpenTelemetry's semantic conventions for RPC.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from inspect import BoundArguments
from typing import Any

import grpc
import wrapt
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from otel_kfs import semconv
from otel_kfs.serving.model_spans import record_receive, tracer, tracer_beside, with_tracer
from otel_kfs.serving.server_errors import fail, never_raises, record_event, record_exceptions_once
from otel_kfs.telemetry.current_span import CurrentSpan
from otel_kfs.telemetry.patches import Patches, bound_arguments
from otel_kfs.telemetry.propagators import propagate
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
    patches.wrap(InferenceGRPCClient, "infer", _infer)


class _Aio(wrapt.ObjectProxy[Any]):
    """`grpc.aio` as KServe's server module sees it: its servers have our interceptor before all others but contrib's.

    Where contrib's is among those that a server is given, its span is the SERVER span, and ours are below it. Health
    and metadata calls are answered without spans, whoever instrumented the server.
    """

    def __init__(self, aio: Any, patches: Patches) -> None:
        super().__init__(aio)
        self._self_patches = patches

    def server(self, *args: Any, interceptors: Iterable[Any] | None = None, **kwargs: Any) -> Any:
        """Make a server."""
        _leave_out_health(self._self_patches)
        given = tuple(interceptors or ())
        theirs = _place_of_contrib_s(given)
        if theirs is None:
            all_of_them: tuple[Any, ...] = (Interceptor(), *given)
        else:
            ours = Interceptor(tracer_beside(getattr(given[theirs], "_tracer", None)))
            all_of_them = (*given[: theirs + 1], ours, *given[theirs + 1 :])
        return self.__wrapped__.server(*args, interceptors=all_of_them, **kwargs)


@never_raises("another's interceptor")
def _place_of_contrib_s(interceptors: tuple[Any, ...]) -> int | None:
    contrib = sys.modules.get("opentelemetry.instrumentation.grpc")
    if contrib is None:
        return None
    cls = type(contrib.aio_server_interceptor())
    return next((place for place, given in enumerate(interceptors) if isinstance(given, cls)), None)


@never_raises("health calls")
def _leave_out_health(patches: Patches) -> None:
    contrib = sys.modules.get("opentelemetry.instrumentation.grpc")
    if contrib is not None:
        cls = type(contrib.aio_server_interceptor())
        if not hasattr(cls.intercept_service, "__wrapped__"):
            patches.wrap(cls, "intercept_service", _intercept_service)


def _intercept_service(original: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    continuation, details = bound_arguments(original, args, kwargs).args
    return continuation(details) if details.method in _NOT_TRACED else original(continuation, details)


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Makes the SERVER span of an inference call, unless another instrumentation has, and its `receive` span.

    gRPC asks it when the call's metadata are there, the deserialiser runs when the whole message is.
    """

    def __init__(self, steps: Tracer | None = None) -> None:
        """Use the provider of another instrumentation's SERVER span for what is below it, where it is known."""
        self._steps = steps

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """Return the handler of this one call."""
        headers_seen, outside = time.time_ns(), trace.get_current_span()
        handler = await continuation(details)
        if details.method != f"/{METHOD}" or handler is None or handler.request_deserializer is None:
            return handler
        arrived = (headers_seen, 0)

        def deserialize(message: bytes) -> Any:
            nonlocal arrived
            arrived = (time.time_ns(), len(message))
            try:
                return handler.request_deserializer(message)
            except Exception:  # gRPC answers it, and asks no handler
                with _ServerSpan(details, headers_seen, trace.get_current_span()):
                    record_receive(headers_seen, *arrived)
                    raise

        async def answer(request: Any, context: Any) -> Any:
            with _ServerSpan(details, headers_seen, outside, context):
                token = otel_context.attach(with_tracer(self._steps, otel_context.get_current()))
                try:
                    record_receive(headers_seen, *arrived)
                    return await handler.unary_unary(request, context)
                finally:
                    otel_context.detach(token)

        return grpc.unary_unary_rpc_method_handler(answer, deserialize, handler.response_serializer)


class _ServerSpan(CurrentSpan):
    """The SERVER span of one call, current inside the `with`; `outside` is what was current when the call arrived."""

    __slots__ = ("_context", "_details", "_headers_seen", "_outside")
    what = "a gRPC call"

    def __init__(self, details: Any, headers_seen: int, outside: Span, context: Any = None) -> None:
        super().__init__()
        self._details = details
        self._headers_seen = headers_seen
        self._outside = outside
        self._context = context

    def start(self) -> tuple[Span, Context] | None:
        """Start the span in the caller's trace, unless another instrumentation has."""
        current = trace.get_current_span()
        of_this_process = current.get_span_context()
        # Also where another's sampler dropped the call: asked a second time, it might take it.
        if current is not self._outside and of_this_process.is_valid and not of_this_process.is_remote:
            never_raises("another's span")(record_exceptions_once)(current)
            return None
        metadata = self._details.invocation_metadata or ()
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        parent = propagate().extract(carrier, Context())
        span = tracer().start_span(METHOD, parent, SpanKind.SERVER, ATTRIBUTES, None, self._headers_seen)
        return span, parent

    def finish(self, span: Span, error: BaseException | None) -> None:
        """Give the span the call's status, and end it."""
        if span.is_recording():
            self._mark(span, error)
            span.end()

    @never_raises("the status of a gRPC call")
    def _mark(self, span: Span, error: BaseException | None) -> None:
        code = _code(self._context, error)
        span.set_attribute(semconv.RPC_RESPONSE_STATUS_CODE, code)
        if code in _SERVER_ERRORS:
            span.set_attribute(semconv.ERROR_TYPE, code)
            details = "" if self._context is None else self._context.details()
            span.set_status(Status(StatusCode.ERROR, f"{code}: {details}"))
        if error is not None:
            record_event(span, error)


def _code(context: Any, error: BaseException | None) -> str:
    """Return the name of the status that the caller gets."""
    set_code = None if context is None else context.code()
    for code in grpc.StatusCode:
        if code is not grpc.StatusCode.OK and set_code in {code, code.value[0]}:
            return str(code.name)
    if context is not None and not isinstance(error, Exception) and context.time_remaining() == 0:
        return "DEADLINE_EXCEEDED"
    if error is None:
        return "OK"
    return "UNKNOWN" if isinstance(error, Exception) else "CANCELLED"


def _infer(original: Callable[..., Awaitable[Any]], _: Any, args: Any, kwargs: Any) -> Awaitable[Any]:
    if _is_traced_by_another():
        return original(*args, **kwargs)
    return _traced_infer(original, bound_arguments(original, args, kwargs))


class _ClientSpan(CurrentSpan):
    """The CLIENT span of one call to a predictor."""

    __slots__ = ()
    what = "a gRPC call"

    def start(self) -> tuple[Span, Context]:
        """Start the span below the model's step."""
        return tracer().start_span(METHOD, None, SpanKind.CLIENT, ATTRIBUTES), otel_context.get_current()

    def finish(self, span: Span, error: BaseException | None) -> None:
        """Mark the span with what the call raised, and end it."""
        if error is not None:
            fail(span, error)
        span.end()


async def _traced_infer(original: Callable[..., Awaitable[Any]], given: BoundArguments) -> Any:
    with _ClientSpan() as span:
        given.arguments["headers"] = _with_context(given.arguments.get("headers"))
        try:
            answer = await original(*given.args, **given.kwargs)
        except grpc.RpcError as error:
            _mark_answer(span, error)
            raise
        span.set_attribute(semconv.RPC_RESPONSE_STATUS_CODE, "OK")
        return answer


def _with_context(headers: Any) -> Any:
    """Return the metadata with the current context among them, in the place of one that was there before."""
    carrier: dict[str, str] = {}
    try:
        propagate().inject(carrier)
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
