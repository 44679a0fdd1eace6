"""A Collector, Jaeger or Tempo that spans are handed on to: by gRPC or HTTP, with the access that it asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from otel_kfs.errors import ConfigError
from otel_kfs.telemetry.otel_settings import OtlpAccess
from otel_kfs.watch.receiver.receiver_security import read_pem

_SECONDS = 10.0  # for the target to answer
_GRPC_PORT = 4317
_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_RETRIED_STATUSES = frozenset({429, 502, 503, 504})

# Sends one request, or raises one of the errors below.
Send = Callable[[bytes], None]


class TryAgain(Exception):
    """The target can't take it now."""


class NotWanted(Exception):
    """The target will never take it."""


def sender(url: str, access: OtlpAccess) -> Send:
    """Return what sends requests to a URL; nothing is connected before the first one.

    Raises:
        ConfigError: it is no URL of a target, or the access can't be used with it.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"--forward {url}: {error}") from error
    if parts.scheme not in {"http", "https", "grpc", "grpcs"} or not parts.hostname:
        raise ConfigError(f"--forward {url} is not a URL like http://localhost:4317 or http://localhost:4318")
    if parts.scheme.startswith("grpc") or port == _GRPC_PORT:
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return _by_grpc(f"{host}:{port or _GRPC_PORT}", access, tls=parts.scheme in {"https", "grpcs"})
    return _by_http(url if parts.path.strip("/") else f"{url.rstrip('/')}/v1/traces", access)


def _by_grpc(address: str, access: OtlpAccess, *, tls: bool) -> Send:
    import grpc

    if binary := next((key for key in access.headers if key.endswith("-bin")), None):
        raise ConfigError(f"OTEL_EXPORTER_OTLP_HEADERS: {binary} would be binary, which gRPC wants as bytes")
    if tls:
        certificates = (
            None if path is None else read_pem(path) for path in (access.ca, access.key, access.certificate)
        )
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(*certificates))
    else:
        channel = grpc.insecure_channel(address)
    export = channel.unary_unary(_METHOD)
    metadata = tuple(access.headers.items())
    again = {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
    }

    def send(request: bytes) -> None:
        try:
            export(request, timeout=_SECONDS, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code()
            raise (TryAgain if code in again else NotWanted)(f"{code.name}: {error.details()}") from error

    return send


def _by_http(url: str, access: OtlpAccess) -> Send:
    import requests

    session = requests.Session()
    session.auth = _as_it_is
    session.headers.update({**access.headers, "Content-Type": "application/x-protobuf"})
    if access.certificate is not None:
        session.cert = (str(access.certificate), str(access.key or access.certificate))
    verify = True if access.ca is None else str(access.ca)

    def send(request: bytes) -> None:
        try:
            answer = session.post(url, data=request, verify=verify, timeout=_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            raise TryAgain(_reason(error)) from error
        if answer.status_code in _RETRIED_STATUSES:
            raise TryAgain(f"HTTP {answer.status_code}")
        if not answer.ok or answer.is_redirect:
            raise NotWanted(f"HTTP {answer.status_code}")

    return send


def _as_it_is(request: Any) -> Any:
    """Keep the headers that were given: without this, a password in ~/.netrc would go in place of a token."""
    return request


def _reason(error: BaseException) -> str:
    """Return what the system says, if that is why: the libraries' own messages are a line of class names."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return type(error).__name__
