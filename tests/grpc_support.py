"""A small real gRPC server of the V2 protocol, plain or with TLS, for tests of several rooms."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from otel_kfs.client.grpc_sender import _libraries


class Servicer:
    """Answers as it is told; remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.metadata: list[dict[str, Any]] = []
        _, self.messages, self.services, _ = _libraries()
        self.answer = self.messages.ModelInferResponse(model_name="m")

    def ModelInfer(self, request: Any, context: Any) -> Any:
        """One request."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if isinstance(self.answer, tuple):
            context.abort(*self.answer)
        return self.answer

    @contextmanager
    def running(self, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
        """Answer until the end of the `with`, which gets host:port."""
        server = grpc.server(futures.ThreadPoolExecutor(1))
        methods = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(
                self.ModelInfer,
                self.messages.ModelInferRequest.FromString,
                self.messages.ModelInferResponse.SerializeToString,
            )
        }
        handler = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)
        server.add_generic_rpc_handlers((handler,))
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


def run_cli(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in the current folder, beside a server in this process.

    Without anything to do between fork and exec, Python starts it in a way that spares it gRPC's own fork handlers.
    """
    command = [sys.executable, "-m", "otel_kfs.cli", *arguments]
    everything = {**os.environ, **env}
    return subprocess.run(
        command, env=everything, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def server_credentials(pem: Path, clients: Path | None = None) -> grpc.ServerCredentials:
    """A server's key and certificate, of one file; with `clients`, it wants one of theirs by that authority."""
    content = pem.read_bytes()
    wanted = None if clients is None else clients.read_bytes()
    return grpc.ssl_server_credentials([(content, content)], wanted, require_client_auth=clients is not None)
