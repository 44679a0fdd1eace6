"""One image, one root span: the `send image` span, and the image encoded in it, whichever library then sends it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry.trace import Span

from otel_kfs import semconv
from otel_kfs.client.encodings import Encoded, resizing
from otel_kfs.client.encodings.compression import compress
from otel_kfs.client.model_request.request_body import AsyncRequestBody, RequestBody
from otel_kfs.client.payload_options import PayloadOptions, payload_options
from otel_kfs.errors import InputError
from otel_kfs.telemetry import provider

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from otel_kfs.client.payload_options import PayloadKeywords

# The first bytes of what people send to image models, and its media type; anything else is refused before it travels.
_SIGNATURES = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
}


_BEGINNING = 64  # bytes that tell what a file is
_LARGEST = 500_000_000  # bytes; KFServing's servers take 100 MB unless they are told otherwise


class SentImage:
    """The image that a `send image` span is about: it is encoded here, in that span."""

    def __init__(self, span: Span, options: PayloadOptions) -> None:
        self.span = span
        self.headers: Mapping[str, str] = {}  # of what `encode` or `encoded` returned last
        self._options = options

    def encode(self, image: str | os.PathLike[str] | bytes) -> bytes:
        """Encode an image file (its path, or its bytes) in an `encode` span; its sizes go to the root span.

        `headers` then says what it is; unless the span was told otherwise, it is JSON,
        `{"instances": [{"image_bytes": {"b64": ...}}]}`.

        Raises:
            InputError: the file can't be read, or is not an image.
        """
        with provider.tracer().start_as_current_span(semconv.ENCODE):
            content = image if isinstance(image, bytes) else _read(image, _media_type)
            media_type = _media_type(content)
            if media_type is None:
                what = "these bytes are" if isinstance(image, bytes) else f"{os.fspath(image)} is"
                raise InputError(f"{what} not an image; give a JPG or PNG file (or a payload with --json)")
            size = len(content)
            if self._options.resize:
                with provider.tracer().start_as_current_span(semconv.RESIZE):
                    content = resizing.resize(content, self._options.resize)
                media_type = _media_type(content) or media_type
            payload = self._compressed(self._options.encoding.encode(content, media_type))
        self.span.set_attribute(semconv.IMAGE_SIZE, size)
        self.span.set_attribute(semconv.PAYLOAD_SIZE, len(payload))
        return payload

    def encoded(self, payload: str | os.PathLike[str] | bytes) -> bytes:
        """Read a payload that is JSON already (a file's path, or its bytes), in an `encode` span; it is not changed.

        Raises:
            InputError: the file can't be read, or is not JSON.
        """
        with provider.tracer().start_as_current_span(semconv.ENCODE):
            content = payload if isinstance(payload, bytes) else _read(payload, _begins_as_json)
            try:
                orjson.loads(content)
            except orjson.JSONDecodeError as error:
                what = "the payload" if isinstance(payload, bytes) else os.fspath(payload)
                raise InputError(f"{what} is not JSON ({error}); give an image file with --image") from error
            content = self._compressed(Encoded(content, {"content-type": "application/json"}))
        self.span.set_attribute(semconv.PAYLOAD_SIZE, len(content))
        return content

    def body(self, payload: bytes) -> RequestBody:
        """Make what `encode` or `encoded` returned last a body that is sent in an `upload` span.

        For requests (`data=`) and httpx (`content=`), together with its `headers`.
        """
        return RequestBody(payload, self.headers)

    def async_body(self, payload: bytes) -> AsyncRequestBody:
        """Do the same for asyncio: httpx (`content=`) and aiohttp (`data=`)."""
        return AsyncRequestBody(payload, self.headers)

    def _compressed(self, encoded: Encoded) -> bytes:
        self.headers = encoded.headers
        codec = self._options.compression
        if not codec or self._options.transport_compresses:
            return encoded.body
        self.headers = {**encoded.headers, "content-encoding": codec}
        with provider.tracer().start_as_current_span(semconv.COMPRESS):
            return compress(encoded.body, codec)


@contextmanager
def image_span(
    transport: str = semconv.HTTP,
    *,
    run_id: str | None = None,
    sequence: int | None = None,
    warmup: bool = False,
    **options: Unpack[PayloadKeywords],
) -> Iterator[SentImage]:
    """Make a `send image` span around sending one image, for senders that use neither HttpSender nor KafkaSender.

    Inside, encode the image and send it with any client whose own instrumentation is active (httpx's, aiohttp's, ...);
    its CLIENT or PRODUCER span becomes the root's child, and the tables need no more.

        with otel_kfs.image_span() as image:
            answer = await client.post(url, content=image.encode("cat.jpg"), headers=image.headers)

    With a body of the image's, the upload and the waiting for the answer are spans of their own in the client's:

        with otel_kfs.image_span() as image:
            body = image.body(image.encode("cat.jpg"))
            session.post(url, data=body, headers=body.headers)               # requests
            client.post(url, content=body, headers=body.headers)             # httpx

            body = image.async_body(image.encode("cat.jpg"))
            await client.post(url, content=body, headers=body.headers)       # httpx
            async with session.post(url, data=body, headers=body.headers):   # aiohttp
                ...

    `transport` is "http" or "kafka". A `warmup` is left out of the tables. `encoding` is one of `json`, `v2`, `raw`,
    `cloudevent` (default: `json`); `compression` one of `gzip`, `zstd`, `lz4`; `resize` scales the image down until its
    shorter side has that many pixels; `cell` is an experiment's label.

    Raises:
        ConfigError: there is no such encoding or compression.
        MissingExtra: the compression's library is not installed.
    """
    with start_image_span(
        transport, payload_options(**options), run_id=run_id, sequence=sequence, warmup=warmup
    ) as image:
        yield image


@contextmanager
def start_image_span(
    transport: str,
    options: PayloadOptions,
    *,
    run_id: str | None = None,
    sequence: int | None = None,
    warmup: bool = False,
    due: int | None = None,
) -> Iterator[SentImage]:
    """Make the `send image` span of an image that is sent in this form.

    It begins at `due` (ns since the epoch) if that is given, and a `late start` span leads from there to now.
    """
    attributes: dict[str, Any] = {semconv.TRANSPORT: transport, **options.attributes()}
    if run_id is not None:
        attributes[semconv.RUN_ID] = run_id
    if sequence is not None:
        attributes[semconv.SEQUENCE] = sequence
    if warmup:
        attributes[semconv.WARMUP] = True
    tracer = provider.tracer()
    with tracer.start_as_current_span(semconv.SEND_IMAGE, attributes=attributes, start_time=due) as span:
        if due is not None:
            tracer.start_span(semconv.LATE_START, start_time=due).end(max(due, time.time_ns()))
        yield SentImage(span, options)


def _media_type(content: bytes) -> str | None:
    return next((media for signature, media in _SIGNATURES.items() if content.startswith(signature)), None)


def _begins_as_json(content: bytes) -> bool:
    beginning = content.lstrip(b" \t\r\n")
    return not beginning or beginning[:1] in b'{["-0123456789tfn'


def _read(path: str | os.PathLike[str], looks_right: Callable[[bytes], object]) -> bytes:
    """Read a whole file; of one whose beginning does not look right, which may have no end, the beginning alone.

    Raises:
        InputError: it can't be read, or is larger than any server takes.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_BEGINNING)
            if not looks_right(content):
                return content
            content += file.read(_LARGEST - len(content) + 1)
    except OSError as error:
        raise InputError(f"can't read {os.fspath(path)}: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise InputError(f"{os.fspath(path)} has more than {_LARGEST // 1_000_000} MB: no model's server takes that")
    return content
