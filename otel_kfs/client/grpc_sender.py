"""The client sender over gRPC: one image, one root span, as a BYTES tensor of the Open Inference Protocol (V2)."""

from __future__ import annotations

import importlib.util
import os
import struct
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from requests.utils import should_bypass_proxies

from otel_kfs import semconv
from otel_kfs.client import tls
from otel_kfs.client.encodings import Encoding, v2
from otel_kfs.client.model_access import ModelAccess, no_tls
from otel_kfs.client.model_request.model_client import EXCERPT_LENGTH, megabytes
from otel_kfs.client.sender import Sender
from otel_kfs.errors import ConfigError, MissingExtra, PayloadTooLargeError, SendError
from otel_kfs.telemetry.safe_tracer import SafeTracerProvider, guard_propagator

_MAX_MESSAGE = 100_000_000  # bytes; gRPC's own limit is 4 MB, of what is received
_COMPRESSIONS = {"gzip": 2}  # grpc.Compression's number
_TLS_SCHEMES = ("https://", "grpcs://")
_HTTPS_PORT = 443
_HANDSHAKE_FAILED = "Tls handshake failed"  # in what gRPC's core says of its own connection
_ROOTS = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"  # gRPC's own variable, of the authorities that it trusts

_PROXIES, _NO_PROXY = ("grpc_proxy", "https_proxy", "http_proxy"), "no_grpc_proxy"  # its own, too; else no_proxy


class GrpcSender(Sender[dict[str, Any]]):
    """Sends images to a model server over gRPC; `send` returns the model's answer in V2's JSON form."""

    transport = semconv.GRPC
    transport_compresses = True

    def __init__(
        self,
        target: str,
        model: str,
        *,
        timeout: float = 600.0,
        run_id: str | None = None,
        compression: str | None = None,
        resize: int | None = None,
        cell: str | None = None,
        access: ModelAccess | None = None,
        credentials: Any = None,
    ) -> None:
        """Make a sender to a model; `target` is host:port, or for TLS https://host:port.

        `timeout` is in seconds. `compression` is gzip or nothing, all that gRPC has; `resize` and `cell` are as in
        `Sender`. `access` says whom to trust by TLS, and has a client certificate and a token; as over HTTP,
        certificates mean nothing where there is no TLS, and a token goes to whatever server `target` names.
        `credentials` are a `grpc.ChannelCredentials` of your own: they make it TLS to host:port, too, and replace the
        certificates of `access`.

        Raises:
            ConfigError: `target` is no gRPC server's address, gRPC lacks the compression, or a file can't be read.
            MissingExtra: gRPC or the protocol's messages are not installed.
        """
        grpc, self._messages, services, traced = _libraries()
        address, server = _address(target)
        if compression and compression not in _COMPRESSIONS:
            raise ConfigError(f"gRPC does not compress by {compression}; it knows {', '.join(_COMPRESSIONS)}")
        encoding = Encoding(semconv.GRPC, lambda image, _: v2.tensor(image))
        super().__init__(run_id, encoding=encoding, compression=compression, resize=resize, cell=cell)
        options = [("grpc.max_send_message_length", _MAX_MESSAGE), ("grpc.max_receive_message_length", _MAX_MESSAGE)]
        codec = grpc.Compression(_COMPRESSIONS[compression]) if compression else None
        self._access = access
        self._probed = server if credentials is None else None
        if self._probed is not None:
            credentials = grpc.ssl_channel_credentials(*(access.pem() if access else ()))
        self._encrypted = credentials is not None
        if credentials is None:
            channel = grpc.insecure_channel(address, options, codec)
        else:
            channel = grpc.secure_channel(address, credentials, options, codec)
        self._infer = services.GRPCInferenceServiceStub(traced(channel)).ModelInfer
        self._failure = grpc.RpcError
        self._model, self._target, self._timeout = model, target, timeout

    def send_json(self, payload: Any, *, warmup: bool = False) -> NoReturn:  # noqa: ARG002
        """Refuse: gRPC takes no JSON.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("gRPC takes no JSON payload; give an image, or send by HTTP")

    def _deliver(self, payload: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        request = self._messages.ModelInferRequest(model_name=self._model, raw_input_contents=[payload])
        request.inputs.add(name=v2.INPUT, datatype="BYTES", shape=[1])
        metadata = list(headers.items())
        # Not by gRPC's call credentials: they are for TLS alone, and within a mesh the encryption is a proxy's.
        if self._access is not None and (authorization := self._access.authorization()) is not None:
            metadata.append(("authorization", authorization))
        try:
            answer = self._infer(request, timeout=self._timeout, metadata=metadata)
        except self._failure as error:
            raise self._send_error(error, len(payload)) from error
        try:
            return _answer(answer)
        except (ValueError, KeyError, IndexError, struct.error) as error:
            raise SendError(f"{self._target} answered with tensors that are not the V2 protocol's: {error}") from error

    def _send_error(self, error: Any, size: int) -> SendError | ConfigError:
        code, details = error.code().name, " ".join((error.details() or "").split())
        excerpt = details[:EXCERPT_LENGTH]
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in details:
            return PayloadTooLargeError(
                f"{self._target} refused a message of {megabytes(size)}: raise the server's limit (KServe: "
                f"--grpc_max_receive_message_length, bytes): {excerpt}"
            )
        if code == "UNAVAILABLE":
            if (why := self._tls_problem(details)) is not None:
                return no_tls(self._target, why)
            hint = "" if self._encrypted else f", and if it wants TLS, write https://{self._target}"
            return SendError(f"can't reach {self._target} by gRPC; check host, port and that it runs{hint}: {excerpt}")
        if code == "DEADLINE_EXCEEDED":
            return SendError(
                f"no answer from {self._target} within {self._timeout:g} s; raise --timeout if the model needs longer"
            )
        return SendError(f"{self._target} answered {code}: {excerpt}", 400 if code == "INVALID_ARGUMENT" else None)

    def _tls_problem(self, details: str) -> str | None:
        """Return what is wrong with the TLS connection, if that is why there is none."""
        why = None
        if self._probed is not None and not _is_behind_proxy(self._probed[0]):
            ca, identity = (self._access.ca, self._access.identity) if self._access else (None, None)
            why = tls.probe(*self._probed, ca=ca or os.environ.get(_ROOTS), identity=identity, http2=True)
        # What a proxy says of its own connection to the model is not about ours.
        if why is None and _HANDSHAKE_FAILED in details:
            why = tls.refusal(details) or tls.alert(details)
        return why


def _is_behind_proxy(host: str) -> bool:
    """Return whether gRPC reaches a host through a proxy, which a probe of our own would go around."""
    if not any(map(os.environ.get, _PROXIES)):
        return False
    return not should_bypass_proxies(f"https://{host}", no_proxy=os.environ.get(_NO_PROXY))


def is_encrypted(target: str) -> bool:
    """Return whether a GrpcSender reaches the server by TLS."""
    return target.lower().startswith(_TLS_SCHEMES)


def _address(given: str) -> tuple[str, tuple[str, int] | None]:
    """Return a server's address as gRPC writes it, and its host and port if it is to be reached by TLS."""
    if "@" in given or "?" in given:
        # The message must not show what may be a secret.
        raise ConfigError("a gRPC server's address has neither a user nor a query; write it as host:port")
    wrong = ConfigError(f"{given!r} is not a gRPC server; write it as host:port, or as https://host:port for TLS")
    if not is_encrypted(given):
        if "://" in given or ":" not in given:
            raise wrong
        return given, None
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port or _HTTPS_PORT
    except ValueError:
        raise wrong from None
    if not host or parts.path not in {"", "/"} or parts.fragment:
        raise wrong
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", (host, port)


def _libraries() -> tuple[Any, Any, Any, Any]:
    """Import gRPC, the protocol's messages and services, and what makes a channel's calls CLIENT spans.

    KServe's messages where KServe is installed: one process can't hold two definitions of them.
    """
    try:
        import grpc
        from opentelemetry.instrumentation.grpc import client_interceptor
        from opentelemetry.instrumentation.grpc.grpcext import intercept_channel

        if importlib.util.find_spec("kserve") is not None:
            from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
            from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
        else:
            from tritonclient.grpc import service_pb2 as messages
            from tritonclient.grpc import service_pb2_grpc as services
    except ImportError as error:
        raise MissingExtra("gRPC's client of the V2 protocol (tritonclient)", "grpc") from error
    guard_propagator()
    traced = client_interceptor(SafeTracerProvider())
    return grpc, messages, services, lambda channel: intercept_channel(channel, traced)


def _answer(response: Any) -> dict[str, Any]:
    """Return the response as V2's JSON has it, tensors as flat lists."""
    raw = iter(response.raw_output_contents)
    outputs = []
    for output in response.outputs:
        contents = output.contents.ListFields()
        data = list(contents[0][1]) if contents else v2.values(output.datatype, next(raw, b""))
        outputs.append({"name": output.name, "datatype": output.datatype, "shape": list(output.shape), "data": data})
    return {"model_name": response.model_name, "outputs": outputs}
