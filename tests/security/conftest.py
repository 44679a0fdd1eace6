"""What the tests of security share: certificates, and HTTP servers that listen with them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from certificates import Certificates
from support import HttpServer


@pytest.fixture(autouse=True)
def _requests_own_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's authorities would go before those that a test names."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def https() -> Iterator[Callable[[ssl.SSLContext], HttpServer]]:
    """Starts servers that speak TLS."""
    with ExitStack() as stack:

        def start(context: ssl.SSLContext) -> HttpServer:
            server = HttpServer()
            server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
            server.url = f"https://127.0.0.1:{server.port}"
            return stack.enter_context(server.running())

        yield start
