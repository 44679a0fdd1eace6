"""Each codec, undone by the library that everybody else uses for it."""

import gzip
import sys

import lz4.frame
import pytest
import zstandard

from otel_kfs.client.encodings.compression import CODECS, compress, compressor
from otel_kfs.errors import ConfigError, MissingExtra

BODY = b'{"instances": [' + b"0.25, " * 10_000 + b"1]}"
UNDO = {"gzip": gzip.decompress, "zstd": zstandard.decompress, "lz4": lz4.frame.decompress}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("body", [BODY, b""])
def test_what_is_compressed_can_be_had_again(codec, body):
    assert UNDO[codec](compress(body, codec)) == body


@pytest.mark.parametrize("codec", CODECS)
def test_a_body_that_repeats_itself_becomes_smaller(codec):
    assert len(compress(BODY, codec)) < len(BODY) / 10


def test_an_unknown_codec_is_answered_with_those_there_are():
    with pytest.raises(ConfigError) as raised:
        compressor("brotli")
    assert str(raised.value) == "no compression is called 'brotli'; there are gzip, zstd, lz4"


@pytest.mark.parametrize(("codec", "library"), [("zstd", "zstandard"), ("lz4", "lz4.frame")])
def test_a_missing_library_is_answered_with_its_extra(monkeypatch, codec, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        MissingExtra, match=r"is not installed; in a clone of otel-kfs, run: pip install '\.\[encodings\]'"
    ):
        compressor(codec)
