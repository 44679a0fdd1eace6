"""Posting to a model: the answer, or one line that says what went wrong and what to do."""

import threading

import pytest
import requests
from requests.adapters import HTTPAdapter
from support import closing_server, unserved_port
from urllib3.util import Retry

from otel_kfs.client.model_request.model_client import ModelClient, megabytes
from otel_kfs.client.model_request.model_url import predict_url, redact_url
from otel_kfs.errors import ConfigError, PayloadTooLargeError, SendError
from otel_kfs.telemetry import provider

LIMITS = (
    "KFServing: --max_buffer_size of the transformer and the predictor (bytes, default 104857600); "
    "nginx ingress: client_max_body_size; Istio/Envoy: the buffer filter's max_request_bytes"
)


def failure(client: ModelClient, payload: bytes = b"{}") -> SendError:
    """The error that a post ends in; its message is one line without what must not be shown."""
    with pytest.raises(SendError) as raised:
        client.post(payload)
    message = str(raised.value)
    assert "\n" not in message
    assert "secret" not in message
    return raised.value


def test_the_answer_is_the_model_s_json(server):
    assert ModelClient(server.url).post(b"{}") == {"predictions": [1]}


def test_an_answer_that_is_no_object_is_wrapped(server):
    server.answers(200, b"[285]")
    assert ModelClient(server.url).post(b"{}") == {"answer": [285]}


def test_the_payload_arrives_as_it_is_with_type_and_host(server):
    ModelClient(f"{server.url}/v1/models/m:predict", host="m.example.com").post(b'{"instances": []}')
    (request,) = server.requests
    assert (request.path, request.body) == ("/v1/models/m:predict", b'{"instances": []}')
    assert (request.headers["content-type"], request.headers["host"]) == ("application/json", "m.example.com")


def test_the_connection_is_kept_between_payloads(server):
    ports = []
    server.answer = lambda _, handler: ports.append(handler.client_address[1]) or (200, b"{}")
    client = ModelClient(server.url)
    for _ in range(3):
        client.post(b"{}")
    client.close()
    assert ports == ports[:1] * 3


@pytest.mark.parametrize(
    ("status", "reason", "hint"),
    [
        (400, "Bad Request", ""),
        (401, "Unauthorized", ""),
        (404, "Not Found", "; check the model's name"),
        (500, "Internal Server Error", ""),
        (503, "Service Unavailable", ""),
    ],
)
def test_a_refusal_keeps_the_status_and_shows_the_server_s_words(server, status, reason, hint):
    server.answers(status, b"no such\n  model")
    url = server.url.replace("http://", "http://me:secret@") + "/p?token=secret"
    error = failure(ModelClient(url))
    assert (type(error), error.status) == (SendError, status)
    assert str(error) == f"{server.url}/p answered {status} {reason}: no such model{hint}"


def test_a_long_refusal_is_cut(server):
    server.answers(500, b"x" * 10_000)
    assert len(str(failure(ModelClient(server.url)))) < 300


@pytest.mark.parametrize(("status", "body"), [(413, b"too large"), (413, b""), (400, b"")])
def test_a_body_over_the_server_s_limit_names_the_limits(server, status, body):
    server.answers(status, body)
    error = failure(ModelClient(server.url), b"x" * 13_900_000)
    assert (type(error), error.status) == (PayloadTooLargeError, status)
    assert str(error) == (
        f"{server.url} refused a body of 13.9 MB ({status}): raise the limit of the server or of the "
        f"ingress before it ({LIMITS})"
    )


def test_an_answer_that_is_not_json_asks_for_the_predict_url(server):
    server.answers(200, b"<html>\nhello")
    error = failure(ModelClient(server.url))
    assert (type(error), error.status) == (SendError, 200)
    assert str(error) == (
        f"{server.url} answered 200 but not with JSON ('<html> hello'); is it a model's :predict URL?"
    )


def test_where_nothing_listens_the_message_asks_for_url_and_server():
    port = unserved_port()
    error = failure(ModelClient(f"http://me:secret@127.0.0.1:{port}/p?token=secret"))
    assert (type(error), error.status) == (SendError, None)
    assert str(error) == (
        f"can't reach http://127.0.0.1:{port}/p: nothing answers there; check the URL and that the server runs"
    )


def test_a_name_that_nobody_has_is_as_a_server_that_does_not_run():
    error = failure(ModelClient("http://nowhere.invalid/p"))
    assert str(error) == (
        "can't reach http://nowhere.invalid/p: nothing answers there; check the URL and that the server runs"
    )


def test_a_connection_closed_in_mid_body_may_be_a_limit_of_the_server():
    with closing_server() as url:
        error = failure(ModelClient(url), b"x" * 13_900_000)
    assert (type(error), error.status) == (PayloadTooLargeError, None)
    assert str(error) == (
        f"{url} closed the connection while 13.9 MB were sent to it; if its log says "
        f"'Content-Length too long' the body is over its limit ({LIMITS})"
    )


def test_a_slow_answer_names_the_time_and_the_option(server):
    server.hangs()
    error = failure(ModelClient(server.url, timeout=0.2))
    assert (type(error), error.status) == (SendError, None)
    assert str(error) == f"no answer from {server.url} within 0.2 s; raise --timeout if the model needs longer"


def test_tls_to_a_server_without_it_asks_for_scheme_and_certificate(server):
    url = server.url.replace("http://", "https://")
    assert str(failure(ModelClient(url))) == (
        f"no TLS connection to {url}: check the scheme and the server's certificate"
    )


def test_the_predict_url_is_made_of_server_and_model():
    assert predict_url("http://ingress:8080/", "mobilenet") == "http://ingress:8080/v1/models/mobilenet:predict"


def test_without_a_model_the_url_is_taken_as_it_is():
    assert predict_url("https://host/custom:predict", None) == "https://host/custom:predict"


@pytest.mark.parametrize("url", ["ingress:8080", "localhost", "ftp://host/x", "http://", ""])
def test_what_is_no_url_of_a_server_is_refused(url):
    with pytest.raises(ConfigError) as raised:
        predict_url(url, "mobilenet")
    assert str(raised.value) == f"{url!r} is not a URL of a model server; write it as http://host:port"


def test_a_shown_url_has_no_user_query_or_fragment():
    assert redact_url("http://me:secret@host:1/a?token=secret#x") == "http://host:1/a"


def test_sizes_are_decimal_megabytes():
    assert (megabytes(13_936_164), megabytes(999)) == ("13.9 MB", "0.0 MB")


def test_a_request_s_own_headers_go_before_the_client_s(server):
    client = ModelClient(server.url, host="m.example.com")
    client.post(b"\xff\xd8\xff", {"content-type": "image/jpeg", "ce-id": "1"})
    client.post(b"{}")
    sent = [(request.headers["content-type"], request.headers.get("ce-id")) for request in server.requests]
    assert sent == [("image/jpeg", "1"), ("application/json", None)]
    assert {request.headers["host"] for request in server.requests} == {"m.example.com"}


def v2_answer(json_part: bytes, tensors: bytes = b"", length: str | None = None):
    """What a server does that answers in V2 with binary tensors."""

    def answer(_, handler):
        handler.send_response(200)
        handler.send_header("Inference-Header-Content-Length", length or str(len(json_part)))
        handler.send_header("Content-Length", str(len(json_part) + len(tensors)))
        handler.end_headers()
        handler.wfile.write(json_part + tensors)

    return answer


def test_an_answer_with_binary_tensors_has_their_values_in_place(server):
    server.answer = v2_answer(
        b'{"model_name":"m","outputs":[{"name":"class","datatype":"INT64","shape":[1],'
        b'"parameters":{"binary_data_size":8}},{"name":"score","datatype":"FP32","shape":[1],"data":[0.5]}]}',
        (285).to_bytes(8, "little"),
    )
    assert ModelClient(server.url).post(b"{}") == {
        "model_name": "m",
        "outputs": [
            {"name": "class", "datatype": "INT64", "shape": [1], "parameters": {}, "data": [285]},
            {"name": "score", "datatype": "FP32", "shape": [1], "data": [0.5]},
        ],
    }


@pytest.mark.parametrize("length", ["many", "3", "-1"])
def test_an_answer_that_is_not_v2_though_it_says_so_is_one_line(server, length):
    server.answer = v2_answer(b'{"outputs":[]}', length=length)
    assert "answered 200 but not with JSON" in str(failure(ModelClient(server.url)))


def test_a_session_s_own_retries_are_attempts_with_an_upload_each(server, spans, caplog):
    statuses = [503, 503, 200]
    server.answer = lambda *_: (statuses.pop(0), b"{}")
    session = requests.Session()
    retry = Retry(total=3, allowed_methods=None, status_forcelist=[503], backoff_factor=0.05)
    session.mount("http://", HTTPAdapter(max_retries=retry))
    provider.instrument_requests()
    ModelClient(server.url, session=session).post(b"{}")
    uploads = [span for span in spans.get_finished_spans() if span.name == "upload"]
    assert [span.attributes.get("http.request.resend_count") for span in uploads] == [None, 1, 2]
    names = [span.name for span in spans.get_finished_spans()]
    assert (names, caplog.messages) == (["upload"] * 3 + ["POST"], [])


def test_requests_share_the_one_thread_that_watches_their_time(server):
    client = ModelClient(server.url)
    client.post(b"{}")
    before, seen = set(threading.enumerate()), set()
    server.answer = lambda *_: seen.update(threading.enumerate()) or (200, b"{}")
    for _ in range(3):
        client.post(b"{}")
    started = {thread.name for thread in seen - before}
    assert {name for name in started if "process_request_thread" not in name} == set()


def test_where_requests_go_is_looked_up_in_the_environment_once(server, monkeypatch):
    client, looked = ModelClient(server.url), []
    merge = requests.Session.merge_environment_settings
    monkeypatch.setattr(
        requests.Session, "merge_environment_settings", lambda *args: looked.append(args[1]) or merge(*args)
    )
    for _ in range(3):
        client.post(b"{}")
    assert looked == [server.url]
