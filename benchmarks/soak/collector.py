"""The soak run's OTLP receiver: decodes what it is sent and prints one JSON line a request and process, with span ids.

python collector.py PORT
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_printing = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    """POST /v1/traces with protobuf."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Take one batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            pid = next(pair.value.int_value for pair in resource.resource.attributes if pair.key == "process.pid")
            spans = [span.span_id.hex() for scope in resource.scope_spans for span in scope.spans]
            with _printing:
                print(json.dumps({"pid": pid, "spans": spans}), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
    server.daemon_threads = True
    server.serve_forever()
