"""The session for a model: what it prepares once is what requests prepares each time."""

from __future__ import annotations

import pickle
from typing import Any

import requests
from hypothesis import given
from hypothesis import strategies as st
from support import HttpServer

from otel_kfs.client.model_request.model_client import ModelClient
from otel_kfs.client.model_request.model_session import ModelSession
from otel_kfs.client.model_request.request_body import RequestBody


def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An authentication that needs all of a request."""
    request.headers["X-Signature"] = f"{request.url} {sorted(request.headers)} {request.body!r}"
    request.register_hook("response", print)
    return request


def look(response: requests.Response, *_: Any, **__: Any) -> None:
    """A hook."""


WORDS = st.text("aZ-0", min_size=1, max_size=3)
VALUES = st.none() | st.sampled_from(["a", b"b", " c", "d\ne", "\u20ac", 5])
HEADERS = st.dictionaries(WORDS | st.sampled_from(["Cookie", "content-LENGTH", "Authorization", "user-agent"]), VALUES)
AUTH = st.sampled_from([None, ("me", "secret"), sign])
HOOKS = st.sampled_from([{}, {"response": []}, {"response": look}, {"response": [look, sign]}])
URLS = st.sampled_from(
    [
        "http://127.0.0.1:1/v1/models/m:predict",
        "http://me:secret@h/ a?b=\u00e9#c",
        "HTTPS://\u00fc.example",
        "http://*x",
    ]
) | st.text(max_size=9)
REQUESTS = st.fixed_dictionaries(
    {"method": st.sampled_from(["POST", "get"]), "url": URLS, "headers": HEADERS, "auth": AUTH, "hooks": HOOKS},
    optional={
        "data": st.sampled_from([b"", b"{}", {}, {"a": "b"}, RequestBody(b"{}"), iter(())]),
        "params": st.sampled_from([{}, {"q": "1"}]),
        "cookies": st.sampled_from([{}, {"c": "1"}]),
        "json": st.just([1]),
    },
)
SESSIONS = st.fixed_dictionaries(
    {"headers": HEADERS, "auth": AUTH, "cookies": st.sampled_from([{}, {"s": "1"}])},
    optional={"params": st.just({"p": "1"}), "trust_env": st.just(False), "hooks": HOOKS},
)


def prepared(session: requests.Session, request: dict[str, Any]) -> Any:
    """What becomes of a request; the kind of the error if nothing."""
    try:
        found = session.prepare_request(requests.Request(**request))
    except (requests.RequestException, ValueError) as error:
        return type(error), str(error)
    return found.method, found.url, list(found.headers.items()), found.body, found.hooks


@given(SESSIONS, st.lists(REQUESTS, min_size=1, max_size=3))
def test_any_request_is_prepared_as_requests_does(settings, wanted):
    sessions = requests.Session(), ModelSession()
    for session in sessions:
        session.headers.update(settings["headers"])
        session.cookies.update(settings["cookies"])
        for name in settings.keys() - {"headers", "cookies"}:
            setattr(session, name, {"response": [], **settings[name]} if name == "hooks" else settings[name])
    # Each twice: the second time with what was kept of the first.
    expected, found = ([prepared(session, request) for request in wanted * 2] for session in sessions)
    assert found == expected


def test_cookies_that_the_server_sets_come_back_to_it(server):
    server.answer = set_cookie
    client = ModelClient(server.url)
    for _ in range(2):
        client.post(b"{}")
    assert [request.headers.get("cookie") for request in server.requests] == [None, "route=1"]


def set_cookie(_: Any, handler: Any) -> None:
    """Answer as an ingress does that keeps a client with one server."""
    handler.send_response(200)
    handler.send_header("Set-Cookie", "route=1")
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


def test_a_session_that_was_closed_or_copied_connects_anew(server):
    session = ModelSession()
    client = ModelClient(server.url, session=session)
    client.post(b"{}")
    session.close()
    client.post(b"{}")
    ModelClient(server.url, session=pickle.loads(pickle.dumps(session))).post(b"{}")
    assert len(server.requests) == 3


def test_two_servers_in_turn_each_get_their_own_requests(server):
    session = ModelSession()
    with HttpServer().running() as other:
        clients = [ModelClient(each.url, session=session) for each in (server, other)]
        for client in [*clients, *clients]:
            client.post(b"{}")
        assert (len(server.requests), len(other.requests)) == (2, 2)
