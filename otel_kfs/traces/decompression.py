"""Decompression of trace files as they are read: at most one line or message is in memory.

Source of the framed form: the README of the Collector's file exporter (with `compression: zstd` or `format: proto`
each message stands behind its length).
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from otel_kfs.errors import TraceQueryError

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

LONGEST = 256 * 2**20  # bytes of a line, a message, or a document over several lines: they are in memory as a whole
ENV_LONGEST = "OTEL_KFS_MAX_DOCUMENT_MIB"  # another limit than that

# What reading a compressed file raises if it is damaged.
CORRUPT = (zlib.error, gzip.BadGzipFile, zstd.ZstdError)

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_HEAD = 8
_PEEKED = 32
_LENGTH = 4  # bytes of a message's length
_PROTOBUF = b"\x0a"  # the first byte of a TracesData: field 1, with a length
# Traces hold random ids, which can't be compressed: what grows more than this is a decompression bomb.
_MOST_DENSE, _NOT_BEFORE = 500, 2**20


@contextmanager
def decompressed(raw: io.BufferedReader) -> Iterator[BinaryIO]:
    """Open a file's content, decompressed if it is compressed."""
    head = raw.peek(_HEAD)[:_HEAD]
    if head.startswith(_GZIP):
        with gzip.open(raw, "rb") as inside:
            yield cast(BinaryIO, inside)
    elif head.startswith(_ZSTD):
        with zstd.ZstdFile(raw, "rb") as inside:
            yield cast(BinaryIO, inside)
    else:
        yield raw


def peeked(inside: BinaryIO) -> bytes:
    """Return how a file's content begins, without consuming it."""
    return cast(io.BufferedReader, inside).peek(_PEEKED)[:_PEEKED]


def is_compressed(head: bytes) -> bool:
    """Whether a file with this beginning is compressed as a whole."""
    return head.startswith((_GZIP, _ZSTD))


def is_framed(head: bytes) -> bool:
    """Whether a file with this beginning holds messages, each preceded by its length."""
    length, first = head[:_LENGTH], head[_LENGTH:]
    # Up to 144 MiB; text begins with a tab or a higher byte.
    return length < b"\t" and (first == _ZSTD or first.startswith(_PROTOBUF))


def messages(raw: BinaryIO) -> Iterator[bytes]:
    """Yield the messages of a framed file, each to be `inflated`.

    Raises:
        EOFError: the last one is cut short.
        TraceQueryError: one is too long.
    """
    while length := raw.read(_LENGTH):
        wanted = int.from_bytes(length, "big")
        if wanted > longest():
            raise TraceQueryError(too_long("a message"))
        message = raw.read(wanted)
        if len(length) < _LENGTH or len(message) < wanted:
            raise EOFError("it ends in the middle of a message")
        yield message


def check_density(inside: int, raw: int) -> None:
    """Refuse a file of which `raw` bytes were decompressed to `inside` bytes.

    Raises:
        TraceQueryError: that is a decompression bomb.
    """
    if inside > _NOT_BEFORE and inside > _MOST_DENSE * max(raw, 1):
        raise TraceQueryError(f"it grows to more than {_MOST_DENSE} times its size, as no traces do")


def longest() -> int:
    """Return how many bytes a line, message or document may have.

    Raises:
        TraceQueryError: the limit in the environment is not a number.
    """
    limit = os.environ.get(ENV_LONGEST)
    if not limit:
        return LONGEST
    if not limit.isascii() or not limit.isdigit() or not 0 < len(limit) < 9 or int(limit) == 0:
        raise TraceQueryError(f"{ENV_LONGEST} is not a number of MiB, as in {ENV_LONGEST}=1024")
    return int(limit) * 2**20


def too_long(what: str) -> str:
    """Return the error message for a line, message or document over the limit."""
    return f"{what} is longer than {longest() >> 20} MiB; {ENV_LONGEST} allows more, if there is memory for it"


def inflated(message: bytes) -> bytes:
    """Return a message's content, decompressed if it is compressed.

    Raises:
        CORRUPT, EOFError: it is damaged.
        TraceQueryError: it becomes too long.
    """
    if not message.startswith(_ZSTD):
        return message
    decompressor = zstd.ZstdDecompressor()
    inside = decompressor.decompress(message, max_length=longest() + 1)
    if len(inside) > longest():
        raise TraceQueryError(too_long("a message"))
    if not decompressor.eof:
        raise EOFError("a message ends in the middle of its compressed data")
    return inside
