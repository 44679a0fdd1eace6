"""What OpenTelemetry's instrumentations of the serving SDKs' libraries write about URLs, under our `configure`."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import HttpServer, read_traces, run_python

USER, PASSWORD, QUERY = "cl4ra-of-the-url", "pw-in-the-url-91", "q-in-the-url-92"
PATH = f"/v1/models/m?token={QUERY}"

TORNADO = """
import asyncio, socket, tornado.httpclient, tornado.httpserver, tornado.web
from opentelemetry.instrumentation.tornado import TornadoInstrumentor
import otel_kfs
otel_kfs.configure("server", traces_file="traces.jsonl")
TornadoInstrumentor().instrument()

class Handler(tornado.web.RequestHandler):
    def get(self):
        self.write("{}")

async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    server = tornado.httpserver.HTTPServer(tornado.web.Application([("/v1/models/m", Handler)]))
    listener.setblocking(False)
    server.add_sockets([listener])
    url = f"http://USER:PASSWORD@127.0.0.1:{listener.getsockname()[1]}PATH"
    print((await tornado.httpclient.AsyncHTTPClient().fetch(url)).code)

asyncio.run(main())
"""

FASTAPI = """
import fastapi, fastapi.testclient
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
import otel_kfs
otel_kfs.configure("server", traces_file="traces.jsonl")
app = fastapi.FastAPI()

@app.get("/v1/models/m")
def model():
    return {}

FastAPIInstrumentor.instrument_app(app)
print(fastapi.testclient.TestClient(app).get("http://USER:PASSWORD@testserverPATH").status_code)
"""

HTTPX = """
import httpx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
import otel_kfs
otel_kfs.configure("client", traces_file="traces.jsonl")
HTTPXClientInstrumentor().instrument()
print(httpx.post("http://USER:PASSWORD@HOSTPATH").status_code)
"""


@pytest.mark.parametrize("conventions", ["http", "old"])
@pytest.mark.parametrize(
    ("library", "script"),
    [
        pytest.param("tornado", TORNADO, marks=pytest.mark.kfserving),
        pytest.param("fastapi", FASTAPI, marks=pytest.mark.kserve),
        pytest.param("httpx", HTTPX),
    ],
)
def test_no_span_holds_what_a_url_held(library, script, conventions):
    with HttpServer().running() as server:
        words = {"USER": USER, "PASSWORD": PASSWORD, "PATH": PATH, "HOST": f"127.0.0.1:{server.port}"}
        for word, value in words.items():
            script = script.replace(word, value)
        done = run_python(script, OTEL_SEMCONV_STABILITY_OPT_IN=conventions if conventions == "http" else "")
    assert (done.returncode, done.stdout) == (0, "200\n"), done.stderr
    text = Path("traces.jsonl").read_text()
    assert [secret for secret in (USER, PASSWORD, QUERY) if secret in text] == []
    keys = {"http.url", "http.target", "url.full", "url.query"}
    urls = [span.attributes[key] for span in read_traces(Path("traces.jsonl")) for key in keys & span.attributes.keys()]
    assert any(url.endswith("token=REDACTED") for url in urls), text
