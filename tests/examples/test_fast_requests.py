"""The pictures in a request of each form, and bodies inflated; what is neither is one line."""

import base64
import gzip

import fast_requests
import lz4.frame
import pytest
import zstandard
from fast_requests import inflate, pictures
from support import JPG

from otel_kfs.errors import InputError

B64 = base64.b64encode(JPG).decode()


class Store:
    """Has one picture."""

    def fetch(self, reference):
        if reference != {"bucket": "b", "key": "k"}:
            raise InputError("not a reference")
        return JPG


def test_a_body_that_is_no_json_is_the_picture():
    assert pictures(JPG) == [JPG]


def test_json_has_pictures_and_references():
    instances = [{"image_bytes": {"b64": B64}}, {"image_ref": {"bucket": "b", "key": "k"}}]
    assert pictures({"instances": instances}, Store()) == [JPG, JPG]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({}, "no picture in the request: 'instances'"),
        ([], "no picture in the request"),
        (None, "no picture in the request"),
        ({"instances": [{}]}, "no picture in the request: 'image_bytes'"),
        ({"instances": [1]}, "no picture in the request"),
        ({"instances": [{"image_bytes": {"b64": "***"}}]}, "base64"),
        ({"instances": [{"image_bytes": {"b64": 1}}]}, "no picture in the request"),
        ({"instances": [{"image_ref": {"bucket": "c", "key": "k"}}]}, "no picture in the request: not a reference"),
    ],
)
def test_what_has_no_picture_is_one_line(request_, reason):
    with pytest.raises(ValueError, match=reason) as raised:
        pictures(request_, Store())
    assert "\n" not in str(raised.value)


def test_a_reference_to_a_server_without_a_store_says_how_to_start_it():
    with pytest.raises(ValueError, match="this server reads no references; start it with --bucket"):
        pictures({"instances": [{"image_ref": {"bucket": "b", "key": "k"}}]})


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (None, JPG),
        ("", JPG),
        ("identity", JPG),
        ("gzip", gzip.compress(JPG, mtime=0)),
        ("zstd", zstandard.compress(JPG)),
        ("lz4", lz4.frame.compress(JPG)),
    ],
)
def test_a_body_is_inflated_as_its_coding_says(coding, body):
    assert inflate(body, coding) == JPG


@pytest.mark.parametrize("coding", ["gzip", "zstd", "lz4"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"some text",
        b"\x1f\x8b\x08",
        gzip.compress(JPG, mtime=0)[:-9],
        lz4.frame.compress(JPG)[:-9],
        zstandard.compress(JPG)[:-9],
    ],
)
def test_a_body_that_is_not_what_it_says_is_one_line(coding, body):
    with pytest.raises(ValueError, match=rf"the body is (not {coding}|cut off)") as raised:
        inflate(body, coding)
    assert "\n" not in str(raised.value)


def test_an_unknown_coding_is_answered_with_those_that_are_known():
    with pytest.raises(ValueError, match="content-encoding br is not known; there are gzip, zstd, lz4"):
        inflate(b"", "br")


@pytest.mark.parametrize(
    "compress", [("gzip", gzip.compress), ("zstd", zstandard.compress), ("lz4", lz4.frame.compress)]
)
def test_a_body_that_becomes_too_large_is_refused(monkeypatch, compress):
    monkeypatch.setattr(fast_requests, "LARGEST", 1000)
    coding, function = compress
    assert inflate(function(b"0" * 1000), coding) == b"0" * 1000
    with pytest.raises(ValueError, match="larger than 1000 bytes"):
        inflate(function(b"0" * 1001), coding)


def test_gzip_s_own_checksum_counts():
    body = bytearray(gzip.compress(JPG))
    body[-8] ^= 1
    with pytest.raises(ValueError, match="the body is not gzip"):
        inflate(bytes(body), "gzip")
