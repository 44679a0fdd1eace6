"""Whatever a server sends is an answer or a SendError of one line, within the time and the memory that were granted."""

from __future__ import annotations

import gzip
import json
import math
import socket
import threading
from contextlib import contextmanager

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_kfs.client.model_request.model_client import ModelClient
from otel_kfs.errors import SendError

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def raw_server(*pieces: bytes, pause: float = 0.0, for_ever: bool = False):
    """A server that answers each connection with these bytes, piece by piece, and closes it; yields its URL."""
    stopping = threading.Event()

    def serve(connection):
        with connection:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)
                    if pause and stopping.wait(pause):
                        return
                while for_ever and not stopping.wait(pause):
                    connection.sendall(pieces[-1])
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # or the client would be told of a reset instead of the answer
                    pass
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept():
            while not stopping.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stopping.set()
            listening.shutdown(socket.SHUT_RDWR)


def failure(client: ModelClient) -> SendError:
    with pytest.raises(SendError) as raised:
        client.post(b"{}")
    assert "\n" not in str(raised.value)
    return raised.value


def answer(*pieces, **options):
    """What a client gets of a server that sends this."""
    with raw_server(*pieces, **options) as url:
        return ModelClient(url, timeout=20).post(b"{}")


@pytest.mark.parametrize(
    "broken",
    [
        [b"Content-Length: 100\r\n\r\n", b'{"pred'],
        [b"Transfer-Encoding: chunked\r\n\r\n", b'6\r\n{"pred\r\n'],
        [b"Transfer-Encoding: chunked\r\n\r\n", b"no size\r\n"],
    ],
)
def test_an_answer_that_breaks_off_says_so(broken):
    with raw_server(OK, *broken) as url:
        assert str(failure(ModelClient(url))) == f"{url} broke off its answer; the server's log may say why"


def test_an_answer_that_can_t_be_decompressed_says_so():
    with raw_server(OK, b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n", b"none") as url:
        text = str(failure(ModelClient(url)))  # whose end is the library's
        assert text.startswith(f"{url} answered with a body that can't be decompressed: Error -3 ")


def redirecting(server, status, location):
    """Let a server redirect the first request, and answer all others as a health page does."""

    def redirect(request, handler):
        if request.path != "/":
            return 200, b'{"name": "m", "ready": true}'
        handler.send_response(status)
        handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return None

    server.answer = redirect


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_lose_the_payload_is_no_answer(server, status):
    redirecting(server, status, "/health")
    error = failure(ModelClient(f"{server.url}/"))
    assert (error.status, str(error), len(server.requests)) == (
        status,
        f"{server.url}/ redirects ({status}) to {server.url}/health, and a redirected request would not carry the "
        f'payload; if the model is there, use "{server.url}/health"',
        1,
    )


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_with_the_same_request_is_followed_on_the_same_server(server, status):
    redirecting(server, status, "/moved")
    found = ModelClient(f"{server.url}/").post(b"the payload", {"content-type": "image/jpeg"})
    assert (found, [(one.path, one.body, one.headers["content-type"]) for one in server.requests]) == (
        {"name": "m", "ready": True},
        [("/", b"the payload", "image/jpeg"), ("/moved", b"the payload", "image/jpeg")],
    )


@pytest.mark.parametrize("location", ["https://127.0.0.1:{port}/", "http://localhost:{port}/", "http://127.0.0.1:1/"])
def test_a_redirect_to_another_server_or_scheme_is_not_followed(server, location):
    there = location.format(port=server.port)
    redirecting(server, 308, there)
    error = failure(ModelClient(f"{server.url}/"))
    assert (error.status, f'use "{there}"' in str(error), len(server.requests)) == (308, True, 1)


def test_a_redirect_in_a_circle_ends(server):
    redirecting(server, 307, "/")
    assert (str(failure(ModelClient(f"{server.url}/"))), len(server.requests)) == (
        f"{server.url}/ redirects in a circle",
        6,
    )


@pytest.mark.parametrize("location", ["http://[bad", "", "mailto:me", "http://h:99999999/", "//["])
def test_a_redirect_to_what_is_no_url_is_one_line(location):
    head = b"HTTP/1.1 307 Moved\r\nLocation: " + location.encode("utf-8", "surrogateescape")
    with raw_server(head + b"\r\nContent-Length: 0\r\n\r\n") as url:
        assert failure(ModelClient(url)).status == 307


def test_a_redirect_s_secrets_are_not_shown(server):
    redirecting(server, 302, "http://me:secret@other/p?token=secret")
    assert "secret" not in str(failure(ModelClient(f"{server.url}/")))


@pytest.mark.parametrize(
    "charset", ["undefined", "idna", "punycode", "hex", "nonsense", "utf-16", "unicode_escape", "\0"]
)
def test_an_error_in_any_encoding_is_one_line(charset):
    head = f"HTTP/1.1 400 No\r\nContent-Type: text/html; charset={charset}\r\nContent-Length: 7\r\n\r\n"
    with raw_server(head.encode() + b"no\xff\xfe...") as url:
        assert failure(ModelClient(url)).status in {400, None}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"[NaN]", "[NaN]"),
        (b"[Infinity, -Infinity]", "[Infinity, -Infinity]"),
        (b'["\\ud83d"]', '["\\ud83d"]'),
        (str(2**80).encode(), str(2**80)),
        (b"[" * 300 + b"]" * 300, "[" * 300 + "]" * 300),
        (b"[1e400]", "[Infinity]"),
        (b'\xef\xbb\xbf{"a": 1}', '{"a": 1}'),
    ],
    ids=["NaN", "Infinity", "surrogate", "large integer", "nested", "large float", "byte order mark"],
)
def test_what_python_s_json_writes_is_an_answer(server, written, read):
    server.answers(200, b'{"predictions": ' + written + b"}" if written[:1] != b"\xef" else written)
    found = ModelClient(server.url).post(b"{}")
    assert json.dumps(found) == ('{"predictions": ' + read + "}" if written[:1] != b"\xef" else read)


def test_nan_is_a_number_that_is_none(server):
    server.answers(200, b'{"predictions": [NaN]}')
    assert math.isnan(ModelClient(server.url).post(b"{}")["predictions"][0])


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[" * 5000 + b"]" * 5000, b"9" * 5000, b"{", b"\xff", b""])
def test_what_no_reader_takes_is_one_line(server, content):
    server.answers(200, content)
    assert "answered 200 but not with JSON" in str(failure(ModelClient(server.url)))


DRIPPING = {
    "status line": (b"HTTP/1.1 200 O", b"K"),
    "headers": (OK, b"a: b\r\n"),
    "body": (OK + b"Content-Length: 4000\r\n\r\n", b" "),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("place", DRIPPING)
def test_the_time_out_is_that_of_the_whole_request(place):
    with raw_server(*DRIPPING[place], pause=0.05, for_ever=True) as url:
        client = ModelClient(url, timeout=0.5)
        assert str(failure(client)) == f"no answer from {url} within 0.5 s; raise --timeout if the model needs longer"


def test_a_server_that_reads_slowly_is_given_up_too():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(SendError, match=r"^no answer from .* within 0.5 s"):
            ModelClient(url, timeout=0.5).post(bytes(50_000_000))


def test_a_client_is_as_good_as_new_after_a_time_out(server):
    release = threading.Event()
    server.answer = lambda *_: (release.wait(20), (200, b"{}"))[1]
    client = ModelClient(server.url, timeout=1)
    failure(client)
    release.set()
    assert [client.post(b"{}") for _ in range(3)] == [{}, {}, {}]


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def test_an_answer_without_end_ends_at_the_limit():
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    with raw_server(head, chunk(b" " * 100_000), for_ever=True) as url:
        error = failure(ModelClient(url, max_answer_size=1_000_000))
        assert (error.status, str(error)) == (
            200,
            f"{url} answered with more than 1.0 MB; raise --max-answer-size if the model's answers are that large",
        )


@pytest.mark.parametrize("size", [1_000_000, 1_000_001])
def test_the_limit_counts_what_is_inflated(size):
    zipped = gzip.compress(b'"' + b" " * (size - 2) + b'"')
    head = OK + f"Content-Encoding: gzip\r\nContent-Length: {len(zipped)}\r\n\r\n".encode()
    with raw_server(head + zipped) as url:
        client = ModelClient(url, max_answer_size=1_000_000)
        if size <= 1_000_000:
            assert client.post(b"{}") == {"answer": " " * (size - 2)}
        else:
            assert "more than 1.0 MB" in str(failure(client))


def test_an_answer_that_ends_too_early_is_one_line():
    with raw_server(OK + b"Content-Length: 100\r\n\r\n{}") as url:
        assert failure(ModelClient(url)).status is None


@pytest.mark.parametrize("encoding", ["chunked", "gzip", "deflate"])
def test_answers_in_pieces_and_compressed_are_read_whole(encoding):
    content = json.dumps({"predictions": list(range(50_000))}).encode()
    if encoding == "chunked":
        pieces = [content[at : at + 7000] for at in range(0, len(content), 7000)]
        sent = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(map(chunk, pieces)) + b"0\r\n\r\n"
    else:
        import zlib

        packed = gzip.compress(content) if encoding == "gzip" else zlib.compress(content)
        sent = OK + f"Content-Encoding: {encoding}\r\nContent-Length: {len(packed)}\r\n\r\n".encode() + packed
    assert answer(sent) == {"predictions": list(range(50_000))}


def test_a_session_s_own_hooks_are_called_too(server):
    seen = []
    session = requests.Session()
    session.hooks["response"].append(lambda response, *_, **__: seen.append(response.status_code))
    ModelClient(server.url, session=session).post(b"{}")
    assert seen == [200]


FIELDS = st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b""))
HEADERS = st.sampled_from(
    b"Content-Length Transfer-Encoding Content-Encoding Content-Type Location Retry-After Set-Cookie Connection "
    b"Inference-Header-Content-Length".split()
)
VALUES = FIELDS | st.sampled_from(
    b"0|-1|5|99999999999999999999|chunked|gzip|deflate, gzip|br|zstd|close|text/html; charset=undefined|http://[bad|/x|"
    b"identity, chunked".split(b"|")
)
ANSWERS = st.builds(
    lambda start, headers, body: start + b"".join(k + b": " + v + b"\r\n" for k, v in headers) + b"\r\n" + body,
    st.sampled_from([OK, b"HTTP/1.1 400 No\r\n", b"HTTP/1.1 307 To\r\n", b"HTTP/1.0 500\r\n", b"HTTP/1.1 204 X\r\n"])
    | st.binary(max_size=30).map(lambda raw: raw + b"\r\n"),
    st.lists(st.tuples(HEADERS, VALUES), max_size=4),
    st.binary(max_size=200) | st.sampled_from([b"{}", b"[NaN]", gzip.compress(b"{}"), b"2\r\n{}\r\n0\r\n\r\n"]),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(ANSWERS | st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_one_line(content):
    with raw_server(content) as url:
        try:
            found = ModelClient(url, timeout=2).post(b"{}")
        except SendError as error:
            found = {"lines": str(error).count("\n")}
    assert (type(found), found.get("lines", 0)) == (dict, 0)
