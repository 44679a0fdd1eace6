"""Compression of a whole body, named in its `content-encoding`: gzip, zstd or lz4."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from otel_kfs.errors import ConfigError, MissingExtra

_GZIP_LEVEL = 1  # higher levels save little of base64, and take several times as long
_GZIP_FRAME = 16 + zlib.MAX_WBITS  # zlib's way to ask for gzip's header


def compress(body: bytes, codec: str) -> bytes:
    """Compress a body.

    Raises:
        ConfigError: there is no such codec.
        MissingExtra: its library is not installed.
    """
    return compressor(codec)(body)


def compressor(codec: str) -> Callable[[bytes], bytes]:
    """Return the function that compresses with this codec.

    Raises:
        ConfigError: there is no such codec.
        MissingExtra: its library is not installed.
    """
    try:
        return _CODECS[codec]()
    except KeyError:
        raise ConfigError(f"no compression is called {codec!r}; there are {', '.join(CODECS)}") from None


def _gzip() -> Callable[[bytes], bytes]:
    def compress_gzip(body: bytes) -> bytes:
        stream = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_FRAME)
        return stream.compress(body) + stream.flush()

    return compress_gzip


def _zstd() -> Callable[[bytes], bytes]:
    try:
        import zstandard
    except ImportError as error:
        raise MissingExtra("zstandard", "encodings") from error
    compress_zstd: Callable[[bytes], bytes] = zstandard.ZstdCompressor(level=1).compress
    return compress_zstd


def _lz4() -> Callable[[bytes], bytes]:
    try:
        import lz4.frame
    except ImportError as error:
        raise MissingExtra("lz4", "encodings") from error
    compress_lz4: Callable[[bytes], bytes] = lz4.frame.compress
    return compress_lz4


_CODECS = {"gzip": _gzip, "zstd": _zstd, "lz4": _lz4}
CODECS = tuple(_CODECS)
