"""One image, one root span: what every client sender has in common, whichever library it sends with."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from opentelemetry.trace import Span

from otel_kfs import names, tracing
from otel_kfs.errors import InputError

# The first bytes of what people send to image models; anything else is refused before it travels.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")


class SentImage:
    """The image that a `send image` span is about."""

    def __init__(self, span: Span) -> None:
        self.span = span

    def encode(self, image: str | os.PathLike[str] | bytes) -> bytes:
        """An image file (its path, or its bytes) as JSON, in an `encode` span; its sizes go to the root span.

        The JSON is `{"instances": [{"image_bytes": {"b64": ...}}]}`. Source: KFServing's image transformer sample,
        which follows TensorFlow Serving's REST API for binary values.

        Raises:
            InputError: the file can't be read, or is not an image.
        """
        with tracing.tracer().start_as_current_span(names.ENCODE):
            content = image if isinstance(image, bytes) else _read(image)
            if not content.startswith(_SIGNATURES):
                what = "these bytes are" if isinstance(image, bytes) else f"{os.fspath(image)} is"
                raise InputError(f"{what} not an image; give a JPG or PNG file (or a payload with --json)")
            payload = orjson.dumps({"instances": [{"image_bytes": {"b64": base64.b64encode(content).decode("ascii")}}]})
        self.span.set_attribute(names.IMAGE_SIZE, len(content))
        self.span.set_attribute(names.PAYLOAD_SIZE, len(payload))
        return payload

    def encoded(self, payload: str | os.PathLike[str] | bytes) -> bytes:
        """A payload that is JSON already (a file's path, or its bytes), unchanged, in an `encode` span.

        Raises:
            InputError: the file can't be read, or is not JSON.
        """
        with tracing.tracer().start_as_current_span(names.ENCODE):
            content = payload if isinstance(payload, bytes) else _read(payload)
            try:
                orjson.loads(content)
            except orjson.JSONDecodeError as error:
                what = "the payload" if isinstance(payload, bytes) else os.fspath(payload)
                raise InputError(f"{what} is not JSON ({error}); give an image file with --image") from error
        self.span.set_attribute(names.PAYLOAD_SIZE, len(content))
        return content


@contextmanager
def image_span(
    transport: str = names.HTTP, *, run_id: str | None = None, sequence: int | None = None, warmup: bool = False
) -> Iterator[SentImage]:
    """A `send image` span around sending one image, for senders that use neither HttpSender nor KafkaSender.

    Inside, encode the image and send it with any client whose own instrumentation is active (httpx's, aiohttp's, ...);
    its CLIENT or PRODUCER span becomes the root's child, and the tables find their way from there.

        with otel_kfs.image_span() as image:
            answer = await client.post(url, content=image.encode("cat.jpg"))

    `transport` is "http" or "kafka". A `warmup` is left out of the tables.
    """
    attributes: dict[str, Any] = {names.TRANSPORT: transport}
    if run_id is not None:
        attributes[names.RUN_ID] = run_id
    if sequence is not None:
        attributes[names.SEQUENCE] = sequence
    if warmup:
        attributes[names.WARMUP] = True
    with tracing.tracer().start_as_current_span(names.SEND_IMAGE, attributes=attributes) as span:
        yield SentImage(span)


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"can't read {os.fspath(path)}: {error.strerror}") from error
