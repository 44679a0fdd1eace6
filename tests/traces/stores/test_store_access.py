"""Reading from a trace store behind TLS: the authority by requests' own variable, credentials as headers."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from support import HttpServer

from otel_kfs.cli import main

NOTHING = json.dumps({"traces": []}).encode()


@pytest.fixture
def store(certificates, https) -> HttpServer:
    """A Tempo that has no traces; `authorizations` are those of its requests."""
    server = https(certificates.server_context())
    server.authorizations = []

    def get(handler) -> None:
        server.authorizations.append(handler.headers["authorization"])
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(NOTHING)))
        handler.end_headers()
        handler.wfile.write(NOTHING)

    server._server.RequestHandlerClass.do_GET = get
    return server


def tables(store: HttpServer) -> str:
    done = CliRunner().invoke(main, ["-q", "tables", "--trace-query", f"tempo:{store.url}"])
    assert done.exit_code == 1
    return done.output


def test_an_own_authority_and_a_header(certificates, store, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca))
    monkeypatch.setenv("OTEL_KFS_TRACE_STORE_HEADERS", "authorization=Bearer c3RvcmU")
    assert tables(store).startswith("Error: no image was measured in ")
    assert set(store.authorizations) == {"Bearer c3RvcmU"}


def test_a_store_that_is_not_trusted_is_sent_nothing(certificates, store, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.other_ca))
    monkeypatch.setenv("OTEL_KFS_TRACE_STORE_HEADERS", "authorization=Bearer c3RvcmU")
    assert "certificate is not trusted; REQUESTS_CA_BUNDLE names a file with yours" in tables(store)
    assert store.authorizations == []
