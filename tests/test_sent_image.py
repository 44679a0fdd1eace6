"""`image_span`, around clients that are not ours: httpx and aiohttp, with their own instrumentations."""

import asyncio

import aiohttp
import httpx
import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import SpanKind
from support import JPG, PHOTO, HttpServer

import otel_kfs
from otel_kfs.errors import ConfigError


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
