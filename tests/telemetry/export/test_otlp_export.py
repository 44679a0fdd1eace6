"""The SDK's own variables for TLS, client certificates and headers, honoured by `configure` over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from support import run_python

SECRET = "c2VjcmV0LW90bHAtdG9rZW4"

ONE_SPAN = """
import otel_kfs
from otel_kfs.telemetry import provider

otel_kfs.configure("sender")
provider.tracer().start_span("a span").end()
print(otel_kfs.flush())
"""


@dataclass
class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """A real gRPC server for OTLP."""

    port: int = 0
    headers: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def Export(self, request, context):
        self.headers += [value for key, value in context.invocation_metadata() if key == "authorization"]
        for resource in request.resource_spans:
            self.names += [span.name for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def grpcs(certificates) -> Iterator[Receiver]:
    """It wants a client certificate."""
    content = certificates.server.read_bytes()
    credentials = grpc.ssl_server_credentials([(content, content)], certificates.ca.read_bytes(), True)
    receiver, server = Receiver(), grpc.server(futures.ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    receiver.port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield receiver
    server.stop(None).wait()


def variables(certificates, protocol: str, port: int, *, client: bool = True, ca=None) -> dict[str, str]:
    identity = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(certificates.client),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(certificates.client),
    }
    return {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(ca or certificates.ca),
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{SECRET}",
        **(identity if client else {}),
    }


def test_http_with_a_client_certificate_and_headers(certificates, https):
    receiver = https(certificates.server_context(mutual=True))
    receiver.answers(200)
    done = run_python(ONE_SPAN, **variables(certificates, "http/protobuf", receiver.port))
    assert (done.stdout, done.stderr) == ("True\n", "")
    (request,) = receiver.requests
    assert (request.path, request.headers["authorization"]) == ("/v1/traces", f"Bearer {SECRET}")
    assert b"a span" in request.body


def test_grpc_with_a_client_certificate_and_headers(certificates, grpcs):
    done = run_python(ONE_SPAN, **variables(certificates, "grpc", grpcs.port))
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert (grpcs.names, grpcs.headers) == (["a span"], [f"Bearer {SECRET}"])


@pytest.mark.parametrize(("protocol", "wrong"), [("http/protobuf", "ca"), ("grpc", "client")])
def test_a_receiver_that_is_not_trusted_or_does_not_trust_gets_nothing(certificates, https, grpcs, protocol, wrong):
    receiver = https(certificates.server_context(mutual=True))
    port = grpcs.port if protocol == "grpc" else receiver.port
    settings = {"ca": certificates.other_ca} if wrong == "ca" else {"client": False}
    # The exporters try again for so long.
    env = {**variables(certificates, protocol, port, **settings), "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    done = run_python(ONE_SPAN, **env)
    assert (done.returncode, done.stdout) == (0, "False\n")
    assert "1 of 1 spans were not exported to" in done.stderr
    assert SECRET not in done.stderr
    assert (receiver.requests, grpcs.names) == ([], [])
