"""What is served by HTTP beside the receivers, the page and the metrics: only to who may see it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from otel_kfs.telemetry.export.protocol_probe import is_loopback
from otel_kfs.watch.receiver.receiver_security import ReceiverSecurity

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def site_app(routes: Sequence[BaseRoute], security: ReceiverSecurity, host: str) -> Starlette:
    """Return the application of some routes.

    Where there is a token, a request has to give it: as a bearer token, as Prometheus does, or as a password of any
    user's, for which a browser asks. On loopback a request has to name this machine, or else a page of somebody else's
    could read it in a browser here, by a name of theirs that leads to 127.0.0.1.
    """
    middleware = [Middleware(_TokenNeeded, security=security)]
    if is_loopback(host):
        middleware.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK, host], www_redirect=False))
    return Starlette(routes=list(routes), middleware=middleware)


class _TokenNeeded:
    def __init__(self, app: ASGIApp, security: ReceiverSecurity) -> None:
        self._app, self._security = app, security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._security.allows(_bearer(Headers(scope=scope).get("authorization"))):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse("a token is needed\n", 401, {"www-authenticate": 'Basic realm="otel-kfs watch"'})
        await refusal(scope, receive, send)


def _bearer(authorization: str | None) -> str | None:
    """Return the header as if a password were a bearer token."""
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return authorization
    try:
        password = base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return None
    return f"Bearer {password}"
