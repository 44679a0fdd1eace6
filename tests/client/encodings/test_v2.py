"""V2's binary tensors, read back."""

import struct

import pytest

from otel_kfs.client.encodings import v2


@pytest.mark.parametrize(
    ("datatype", "content", "expected"),
    [
        ("BOOL", b"\x01\x00", [True, False]),
        ("UINT8", b"\xff", [255]),
        ("INT16", b"\xff\xff", [-1]),
        ("INT64", (285).to_bytes(8, "little"), [285]),
        ("FP16", struct.pack("<e", 0.5), [0.5]),
        ("FP32", struct.pack("<2f", 0.5, -2), [0.5, -2.0]),
        ("FP64", struct.pack("<d", 0.1), [0.1]),
        ("BYTES", b"\x03\0\0\0cat\x00\0\0\0\x01\0\0\0\xff", ["cat", "", b"\xff"]),
        ("FP32", b"", []),
    ],
)
def test_a_tensor_s_values_are_a_flat_list(datatype, content, expected):
    assert v2.values(datatype, content) == expected


@pytest.mark.parametrize(
    ("content", "length"),
    [
        (b"{}", "2"),
        (b"[]", "2"),
        (b'{"outputs":[{"datatype":"FP32","parameters":{"binary_data_size":3}}]}abc', "69"),
        (b'{"outputs":[{"datatype":"COLOUR","parameters":{"binary_data_size":3}}]}abc', "71"),
        (b'{"outputs":[{"datatype":"BYTES","parameters":{"binary_data_size":2}}]}\x01\x00', "70"),
        (b"{", "1"),
        (b"{}", "two"),
    ],
)
def test_what_is_no_answer_of_the_protocol_is_a_value_error(content, length):
    with pytest.raises(ValueError):  # noqa: PT011 - its text is the parser's own
        v2.read_answer(content, length)
