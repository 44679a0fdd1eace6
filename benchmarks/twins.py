"""Runs a server's script of the example with two twins of its model: one traced, one as if there were no tracing.

    python benchmarks/twins.py examples/mobilenet/predictor.py --http_port 8081

The plain twin, `mobilenet-plain`, is a copy of the same model in the same process. What the traced one's tracing has
changed for the whole process lets the plain twin's requests through: OpenTelemetry's instrumentations by their
OTEL_PYTHON_..._EXCLUDED_URLS, for which `EXCLUDED` has the environment, and ours by what is below.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import wrapt

from otel_kfs.demo import loopback
from otel_kfs.serving.model_spans import _ROLE

TRACED, PLAIN = "mobilenet", "mobilenet-plain"
EXCLUDED = {f"OTEL_PYTHON_{library}_EXCLUDED_URLS": PLAIN for library in ("TORNADO", "FASTAPI", "HTTPX", "REQUESTS")}

Function = Callable[..., Any]


def plain_twin(model: Any) -> Any:
    """Return a copy of a traced model that is not traced."""
    twin = copy.copy(model)
    twin.name = PLAIN
    del vars(twin)[_ROLE]
    return twin


def let_through(owner: Any, name: str, is_plain: Function, original: Function | None = None) -> None:
    """Let a function that tracing has put there do, for the plain twin's requests, what it did before."""
    traced = getattr(owner, name)
    before = original or inspect.unwrap(traced)

    @functools.wraps(traced)
    def either(*args: Any, **kwargs: Any) -> Any:
        return (before if is_plain(*args) else traced)(*args, **kwargs)

    setattr(owner, name, either)


def twins_on_kfserving() -> None:
    from kfserving import KFServer
    from kfserving.handlers import http
    from tornado.httpclient import AsyncHTTPClient

    class PlainClient:
        """Calls the predictor by the HTTP client whose instrumentation knows no exclusion."""

        def fetch(self, *args: Any, **kwargs: Any) -> Any:
            return inspect.unwrap(vars(AsyncHTTPClient)["fetch"])(AsyncHTTPClient(), *args, **kwargs)

    def is_plain(handler: Any, *_: Any) -> bool:
        return PLAIN in handler.request.path

    def start(server: Any, models: list[Any]) -> None:
        let_through(http.HTTPHandler, "initialize", is_plain)
        let_through(http.PredictHandler, "post", is_plain)
        twins = [plain_twin(model) for model in models]
        for twin in twins:
            twin._http_client_instance = PlainClient()
        real_start(server, [*models, *twins])

    real_start, KFServer.start = KFServer.start, start


def twins_on_kserve() -> None:
    from kserve import ModelServer

    from otel_kfs.serving.kserve.rest_server import RequestContext, RequestWatch

    def is_plain(_: Any, scope: Any, *__: Any) -> bool:
        return scope["type"] == "http" and PLAIN in scope["path"]

    def call(middleware: Any, scope: Any, receive: Any, send: Any) -> Any:
        return middleware.app(scope, receive, send)

    def start(server: Any, models: list[Any]) -> None:
        for middleware in (RequestContext, RequestWatch):
            let_through(middleware, "__call__", is_plain, call)
        real_start(server, [*models, *map(plain_twin, models)])

    real_start, ModelServer.start = ModelServer.start, start


if __name__ == "__main__":
    wrapt.register_post_import_hook(lambda _: twins_on_kfserving(), "kfserving")
    wrapt.register_post_import_hook(lambda _: twins_on_kserve(), "kserve")
    loopback.main()
