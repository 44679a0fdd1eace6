"""Requests to the fast servers: gets the JPGs out of any encoding, and decompresses bodies."""

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import lz4.frame
import zstandard

import otel_kfs
from otel_kfs.errors import InputError

LARGEST = 100_000_000  # bytes of a decompressed body: a small one may contain gigabytes of zeros


def pictures(request: Any, store: otel_kfs.ClaimStore | None = None) -> list[bytes]:
    """Return the JPGs: the body itself, or V1 JSON's instances; ValueError says why there is none."""
    if isinstance(request, bytes):
        return [request]
    try:
        return [_picture(instance, store) for instance in request["instances"]]
    except (KeyError, TypeError, InputError) as error:
        raise ValueError(f"no picture in the request: {error}") from None


def _picture(instance: Mapping[str, Any], store: otel_kfs.ClaimStore | None) -> bytes:
    if "image_ref" not in instance:
        return base64.b64decode(instance["image_bytes"]["b64"], validate=True)
    if store is None:
        raise ValueError("this server reads no references; start it with --bucket")
    return store.fetch(instance["image_ref"])


def inflate(body: bytes, coding: str | None) -> bytes:
    """Undo a body's `content-encoding`; ValueError if it can't be."""
    try:
        if not coding or coding == "identity":
            return body
        if coding == "gzip":
            stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
            inflated, whole = stream.decompress(body, LARGEST), stream.eof
        elif coding == "zstd":
            whole = zstandard.frame_content_size(body) <= LARGEST
            inflated = zstandard.ZstdDecompressor().decompress(body, LARGEST) if whole else b""
        elif coding == "lz4":
            frame = lz4.frame.LZ4FrameDecompressor()
            inflated, whole = frame.decompress(body, LARGEST), frame.eof
        else:
            raise ValueError(f"content-encoding {coding} is not known; there are gzip, zstd, lz4")
    except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
        raise ValueError(f"the body is not {coding}: {error}") from None
    if not whole:
        raise ValueError(f"the body is cut off, or larger than {LARGEST} bytes when inflated")
    return inflated
