"""`image_span`, around clients that are not ours: httpx and aiohttp, with their own instrumentations."""

import asyncio

import aiohttp
import httpx
import pytest
import requests
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.trace import SpanKind
from support import JPG, PHOTO, HttpServer

import otel_kfs
from otel_kfs.errors import ConfigError, InputError


@pytest.fixture
def server():
    with HttpServer().running() as running:
        yield running


async def by_httpx(url):
    async with httpx.AsyncClient() as client:
        with otel_kfs.image_span() as image:
            return (await client.post(url, content=image.encode(JPG))).json()


async def by_aiohttp(url):
    async with aiohttp.ClientSession() as client:
        with otel_kfs.image_span() as image:
            async with client.post(url, data=image.encode(JPG)) as answer:
                return await answer.json(content_type=None)


def by_httpx_without_asyncio(url):
    with otel_kfs.image_span() as image, httpx.Client() as client:
        return client.post(url, content=image.encode(JPG)).json()


@pytest.mark.parametrize(
    ("instrumentor", "send"),
    [
        (HTTPXClientInstrumentor, lambda url: asyncio.run(by_httpx(url))),
        (HTTPXClientInstrumentor, by_httpx_without_asyncio),
        (AioHttpClientInstrumentor, lambda url: asyncio.run(by_aiohttp(url))),
    ],
    ids=["httpx async", "httpx", "aiohttp"],
)
def test_another_client_s_request_is_the_image_s_child_and_its_context_arrives(spans, server, instrumentor, send):
    instrumentor().instrument()
    try:
        assert send(f"{server.url}/v1/models/m:predict") == {"predictions": [1]}
    finally:
        instrumentor().uninstrument()
    found = {span.name: span for span in spans.get_finished_spans()}
    root = found["send image"].context
    assert {name: (span.kind, span.parent and span.parent.span_id) for name, span in found.items()} == {
        "send image": (SpanKind.INTERNAL, None),
        "encode": (SpanKind.INTERNAL, root.span_id),
        "POST": (SpanKind.CLIENT, root.span_id),
    }
    sent = f"00-{root.trace_id:032x}-{found['POST'].context.span_id:016x}-{root.trace_flags:02x}"
    assert server.requests[0].headers["traceparent"] == sent


LARGE = JPG + bytes(3_000_000)  # more than a piece, and more than the socket's buffers hold


def upload_by_requests(url):
    with otel_kfs.image_span() as image, requests.Session() as session:
        body = image.body(image.encode(LARGE))
        return session.post(url, data=body, headers=body.headers).json()


def upload_by_httpx(url):
    with otel_kfs.image_span() as image, httpx.Client() as client:
        body = image.body(image.encode(LARGE))
        return client.post(url, content=body, headers=body.headers).json()


async def upload_by_async_httpx(url):
    async with httpx.AsyncClient() as client:
        with otel_kfs.image_span() as image:
            body = image.async_body(image.encode(LARGE))
            return (await client.post(url, content=body, headers=body.headers)).json()


async def upload_by_aiohttp(url):
    async with aiohttp.ClientSession() as client:
        with otel_kfs.image_span() as image:
            body = image.async_body(image.encode(LARGE))
            async with client.post(url, data=body, headers=body.headers) as answer:
                return await answer.json(content_type=None)


UPLOADS = pytest.mark.parametrize(
    ("instrumentor", "send"),
    [
        (RequestsInstrumentor, upload_by_requests),
        (HTTPXClientInstrumentor, upload_by_httpx),
        (HTTPXClientInstrumentor, lambda url: asyncio.run(upload_by_async_httpx(url))),
        (AioHttpClientInstrumentor, lambda url: asyncio.run(upload_by_aiohttp(url))),
    ],
    ids=["requests", "httpx", "httpx async", "aiohttp"],
)


@UPLOADS
def test_another_client_s_upload_is_a_span_of_its_request(spans, server, instrumentor, send):
    instrumentor().uninstrument()
    instrumentor().instrument()
    try:
        assert send(f"{server.url}/v1/models/m:predict") == {"predictions": [1]}
    finally:
        instrumentor().uninstrument()
    found = spans.get_finished_spans()
    names = {span.context.span_id: span.name for span in found}
    assert [(span.name, span.kind, span.parent and names[span.parent.span_id]) for span in found] == [
        ("encode", SpanKind.INTERNAL, "send image"),
        ("upload", SpanKind.INTERNAL, "POST"),
        ("POST", SpanKind.CLIENT, "send image"),
        ("send image", SpanKind.INTERNAL, None),
    ]
    _, upload, post, _ = found
    times = [post.start_time, upload.start_time, upload.end_time, post.end_time]
    assert times == sorted(times)


@UPLOADS
def test_the_body_arrives_whole_and_with_its_length(server, instrumentor, send):
    send(server.url)
    (request,) = server.requests
    with otel_kfs.image_span() as image:
        payload = image.encode(LARGE)
    assert request.body == payload
    sent = {name: request.headers.get(name) for name in ("content-type", "content-length", "transfer-encoding")}
    assert sent == {
        "content-type": "application/json",
        "content-length": str(len(payload)),
        "transfer-encoding": None,
    }


def test_without_a_span_of_the_client_s_there_is_an_upload_alone(spans, server):
    HTTPXClientInstrumentor().uninstrument()
    upload_by_httpx(server.url)
    assert [span.name for span in spans.get_finished_spans()] == ["encode", "upload", "send image"]


def test_every_attempt_has_an_upload_of_its_own(spans):
    tracer = trace.get_tracer("a client")
    with otel_kfs.image_span() as image:
        body = image.body(b"{}")
        with tracer.start_as_current_span("POST", kind=SpanKind.CLIENT):
            assert [b"".join(body), b"".join(body)] == [b"{}", b"{}"]
    found = [span.name for span in spans.get_finished_spans()]
    assert found == ["upload", "upload", "POST", "send image"]


def test_an_attempt_that_breaks_off_has_neither_upload_nor_wait(spans):
    tracer = trace.get_tracer("a client")
    with otel_kfs.image_span() as image, tracer.start_as_current_span("POST", kind=SpanKind.CLIENT):
        next(iter(image.body(LARGE)))
    assert [span.name for span in spans.get_finished_spans()] == ["POST", "send image"]


def test_the_root_says_what_was_given(spans):
    with otel_kfs.image_span("kafka", run_id="r", sequence=3, warmup=True) as image:
        payload = image.encode(JPG)
    root = spans.get_finished_spans()[-1]
    assert dict(root.attributes) == {
        "otel_kfs.transport": "kafka",
        "otel_kfs.run.id": "r",
        "otel_kfs.sequence": 3,
        "otel_kfs.warmup": True,
        "otel_kfs.image.size": len(JPG),
        "otel_kfs.payload.size": len(payload),
    }


def test_an_exception_inside_passes_unchanged(spans):
    error = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError) as raised, otel_kfs.image_span():
        raise error
    assert raised.value is error


def test_the_headers_say_what_was_encoded():
    with otel_kfs.image_span(encoding="raw") as image:
        assert (image.encode(JPG), image.headers) == (JPG, {"content-type": "image/jpeg"})


@pytest.mark.parametrize(
    ("signature", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"BM", "image/bmp"),
        (b"II*\x00", "image/tiff"),
    ],
)
def test_the_media_type_is_the_image_s_own(signature, media_type):
    with otel_kfs.image_span(encoding="raw") as image:
        image.encode(signature + b" and so on")
    assert image.headers == {"content-type": media_type}


def test_resizing_and_compressing_are_spans_within_encode(spans):
    with otel_kfs.image_span(resize=256, compression="gzip", cell="a label") as image:
        payload = image.encode(PHOTO)
    found = {span.name: span for span in spans.get_finished_spans()}
    encode = found["encode"].context.span_id
    assert [found[name].parent.span_id for name in ("resize", "compress")] == [encode, encode]
    assert dict(found["send image"].attributes) == {
        "otel_kfs.transport": "http",
        "otel_kfs.encoding": "json 256px",
        "otel_kfs.compression": "gzip",
        "otel_kfs.cell": "a label",
        "otel_kfs.image.size": PHOTO.stat().st_size,
        "otel_kfs.payload.size": len(payload),
    }
    assert image.headers == {"content-type": "application/json", "content-encoding": "gzip"}


def test_an_unknown_encoding_makes_no_span(spans):
    with pytest.raises(ConfigError), otel_kfs.image_span(encoding="protobuf"):
        pass
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("method", ["encode", "encoded"])
def test_what_has_no_end_is_refused_by_its_beginning(spans, method):
    with otel_kfs.image_span() as image, pytest.raises(InputError, match=r"^/dev/zero is not (an image|JSON)"):
        getattr(image, method)("/dev/zero")


@pytest.mark.parametrize(("method", "beginning"), [("encode", b"\xff\xd8\xff"), ("encoded", b"[")])
def test_a_file_beyond_any_server_s_limit_is_refused(spans, tmp_path, monkeypatch, method, beginning):
    monkeypatch.setattr("otel_kfs.client.image_span._LARGEST", 1_000_000)
    file = tmp_path / "large"
    file.write_bytes(beginning + bytes(1_000_000))
    with otel_kfs.image_span() as image, pytest.raises(InputError) as raised:
        getattr(image, method)(file)
    assert str(raised.value) == f"{file} has more than 1 MB: no model's server takes that"
