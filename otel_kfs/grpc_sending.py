"""The client sender over gRPC: one image, one root span, as a BYTES tensor of the Open Inference Protocol (V2)."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Mapping
from typing import Any

from otel_kfs import names
from otel_kfs.encodings import Encoding, v2
from otel_kfs.errors import ConfigError, MissingExtra, SendError, TooLarge
from otel_kfs.model_client import megabytes
from otel_kfs.sending import Sender

_MAX_MESSAGE = 100_000_000  # bytes; gRPC's own limit is 4 MB, of what is received
_COMPRESSIONS = {"gzip": 2}  # grpc.Compression's number


class GrpcSender(Sender):
    """Sends images to a model server over gRPC; `send` returns the model's answer in V2's JSON form."""

    transport = names.GRPC
    compresses_later = True

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
        credentials: Any = None,
    ) -> None:
        """`target` is host:port; `timeout` is in seconds; `compression` is gzip or nothing, all that gRPC has.

        `credentials` are a `grpc.ChannelCredentials`; without, the channel is plain.

        Raises:
            ConfigError: `target` is no host:port, or gRPC lacks the compression.
            MissingExtra: gRPC or the protocol's messages are not installed.
        """
        grpc, self._messages, services, traced = _libraries()
        if "://" in target or ":" not in target:
            raise ConfigError(f"{target!r} is not a gRPC server; write it as host:port, without a scheme")
        if compression and compression not in _COMPRESSIONS:
            raise ConfigError(f"gRPC does not compress by {compression}; it knows {', '.join(_COMPRESSIONS)}")
        encoding = Encoding(names.GRPC, lambda image, _: v2.tensor(image))
        super().__init__(run_id, encoding=encoding, compression=compression, resize=resize, cell=cell)
        options = [("grpc.max_send_message_length", _MAX_MESSAGE), ("grpc.max_receive_message_length", _MAX_MESSAGE)]
        chosen = grpc.Compression(_COMPRESSIONS[compression]) if compression else None
        if credentials is None:
            channel = grpc.insecure_channel(target, options, chosen)
        else:
            channel = grpc.secure_channel(target, credentials, options, chosen)
        self._infer = services.GRPCInferenceServiceStub(traced(channel)).ModelInfer
        self._failure = grpc.RpcError
        self._model, self._target, self._timeout = model, target, timeout

    def send_json(self, payload: Any, *, warmup: bool = False) -> Any:  # noqa: ARG002
        """Not over gRPC.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("gRPC takes no JSON payload; give an image, or send by HTTP")

    def _deliver(self, payload: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        request = self._messages.ModelInferRequest(model_name=self._model, raw_input_contents=[payload])
        request.inputs.add(name=v2.INPUT, datatype="BYTES", shape=[1])
        try:
            answer = self._infer(request, timeout=self._timeout, metadata=tuple(headers.items()))
        except self._failure as error:
            raise self._refused(error, len(payload)) from error
        try:
            return _answer(answer)
        except (ValueError, KeyError, IndexError, struct.error) as error:
            raise SendError(f"{self._target} answered with tensors that are not the V2 protocol's: {error}") from error

    def _refused(self, error: Any, size: int) -> SendError:
        code, details = error.code().name, " ".join((error.details() or "").split())
        if code == "RESOURCE_EXHAUSTED" and "larger than max" in details:
            return TooLarge(
                f"{self._target} refused a message of {megabytes(size)}: raise the server's limit (KServe: "
                f"--grpc_max_receive_message_length, bytes): {details}"
            )
        if code == "UNAVAILABLE":
            return SendError(f"can't reach {self._target} by gRPC; check host, port and that it runs: {details}")
        if code == "DEADLINE_EXCEEDED":
            return SendError(
                f"no answer from {self._target} within {self._timeout:g} s; raise --timeout if the model needs longer"
            )
        return SendError(f"{self._target} answered {code}: {details}", 400 if code == "INVALID_ARGUMENT" else None)


def _libraries() -> tuple[Any, Any, Any, Any]:
    """gRPC, the protocol's messages and services, and what makes a channel's calls CLIENT spans.

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
    return grpc, messages, services, lambda channel: intercept_channel(channel, client_interceptor())


def _answer(response: Any) -> dict[str, Any]:
    """The response as V2's JSON has it, tensors as flat lists."""
    raw = iter(response.raw_output_contents)
    outputs = []
    for output in response.outputs:
        contents = output.contents.ListFields()
        data = list(contents[0][1]) if contents else v2.values(output.datatype, next(raw, b""))
        outputs.append({"name": output.name, "datatype": output.datatype, "shape": list(output.shape), "data": data})
    return {"model_name": response.model_name, "outputs": outputs}
