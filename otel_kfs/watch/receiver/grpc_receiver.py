"""OTLP over gRPC: the trace service, with requests as bytes, so that they can be kept and handed on as they came.

In threads: gRPC's own event loop for asyncio takes a quarter more CPU time for a request of a few spans. A thread waits
for its request's message, and there are as many as requests at once: fewer would be kept from all others by a few
senders that never finish. So that they are not kept forever, messages are read here, each like the only one of a
stream, and requests that take too long are cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from otel_kfs.errors import ConfigError
from otel_kfs.watch.receiver.intake import RETRY_AFTER, Busy, Intake, MalformedRequest
from otel_kfs.watch.receiver.otlp_messages import response, status
from otel_kfs.watch.receiver.receiver_security import ReceiverSecurity, read_pem

_COLLECTOR = "opentelemetry.proto.collector"
_OTHERS = {"metrics": "Metrics", "logs": "Logs"}
_CONCURRENT = 512  # requests at once, of all connections
_MESSAGE_SECONDS = 30.0  # for a whole message to arrive
_LIMITS = {
    "grpc.max_concurrent_streams": 128,  # requests at once, of one connection
    "grpc.server_handshake_timeout_ms": 20_000,
    "grpc.max_connection_idle_ms": 600_000,  # exporters connect again
    "grpc.so_reuseport": 0,
}


class UnfinishedRequests:
    """The requests whose message has not arrived; those that take too long are cancelled."""

    def __init__(self) -> None:
        self._since: dict[Any, float] = {}  # by their context

    def message(self, messages: Iterator[bytes], context: Any) -> bytes:
        """Return a request's message.

        Raises:
            MalformedRequest: there is none.
            grpc.RpcError: it was cancelled.
        """
        self._since[context] = time.monotonic()
        try:
            return next(messages)
        except StopIteration as error:
            raise MalformedRequest("not an OTLP export of traces: a request without a message") from error
        finally:
            del self._since[context]

    def cancel_overdue(self, now: float) -> None:
        """Cancel those that take too long; to be called every few seconds."""
        for context, since in [*self._since.items()]:
            if since + _MESSAGE_SECONDS <= now:
                context.cancel()


def start_grpc(
    intake: Intake, host: str, port: int, security: ReceiverSecurity, largest: int, unfinished: UnfinishedRequests
) -> tuple[grpc.Server, int]:
    """Listen; return the server and its port, which may be given as 0. A request has at most `largest` bytes.

    Raises:
        ConfigError: the port is in use, or TLS can't be set up.
    """
    server = grpc.server(
        ThreadPoolExecutor(_CONCURRENT, "otel-kfs gRPC"),
        options=[("grpc.max_receive_message_length", largest), *_LIMITS.items()],
        maximum_concurrent_rpcs=_CONCURRENT,
    )
    server.add_generic_rpc_handlers([_trace_service(intake, security, unfinished), *map(_other_service, _OTHERS)])
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if security.tls_cert is None or security.tls_key is None:
            port = server.add_insecure_port(address)
        else:
            pair = read_pem(security.tls_key), read_pem(security.tls_cert)
            port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"can't listen for gRPC on {address}: it is in use, or no address of this machine; choose another by "
            "--grpc-port"
        ) from error
    server.start()
    return server, port


def _trace_service(
    intake: Intake, security: ReceiverSecurity, unfinished: UnfinishedRequests
) -> grpc.GenericRpcHandler:
    def export(messages: Iterator[bytes], context: Any) -> bytes:
        if security.token and not security.allows(dict(context.invocation_metadata()).get("authorization")):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "a bearer token is needed, and this is not it")
        try:
            intake.wait_for_room(intake.patience)  # HTTP/2 holds up who sends a message that is not read
            left_out = intake.take(unfinished.message(messages, context))
        except MalformedRequest as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Busy as error:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            details = status(code.value[0], str(error), RETRY_AFTER).SerializeToString()
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(code, str(error))
        answer: bytes = response(left_out).SerializeToString() if left_out else b""
        return answer

    return grpc.method_handlers_generic_handler(
        f"{_COLLECTOR}.trace.v1.TraceService", {"Export": grpc.stream_unary_rpc_method_handler(export)}
    )


def _other_service(signal: str) -> grpc.GenericRpcHandler:
    def export(_: Iterator[bytes], context: Any) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"otel-kfs watch takes traces, no {signal}")

    return grpc.method_handlers_generic_handler(
        f"{_COLLECTOR}.{signal}.v1.{_OTHERS[signal]}Service", {"Export": grpc.stream_unary_rpc_method_handler(export)}
    )
