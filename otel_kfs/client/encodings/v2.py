"""V2, the Open Inference Protocol, with binary tensors: JSON that describes them, then their bytes.

Source: the protocol's binary tensor data extension (Triton's documentation of it), which KServe implements.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import orjson

from otel_kfs.client.encodings import answer_json
from otel_kfs.client.encodings.encoded import Encoded

HEADER_LENGTH: Final = "inference-header-content-length"  # the header with the length of the JSON, in bytes

# The extension's element types as struct has them: little-endian.
_FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
INPUT: Final = "image"  # the tensor's name

_LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor


def encode(image: bytes, media_type: str) -> Encoded:  # noqa: ARG001 - this encoding has no place for it
    """Return one BYTES tensor `image` of one element, after the JSON that describes it."""
    length = _LENGTH.pack(len(image))
    parameters = {"binary_data_size": len(length) + len(image)}
    header = orjson.dumps({"inputs": [{"name": INPUT, "shape": [1], "datatype": "BYTES", "parameters": parameters}]})
    return Encoded(
        b"".join((header, length, image)), {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    )


def tensor(image: bytes) -> Encoded:
    """Return the BYTES tensor alone, as gRPC's `raw_input_contents` has it."""
    return Encoded(b"".join((_LENGTH.pack(len(image)), image)), {})


def read_answer(content: bytes, json_length: str) -> dict[str, Any]:
    """Return an answer's JSON, with the values of its binary outputs as flat lists in `data`.

    Elements of BYTES tensors are text where they are UTF-8, else bytes.

    Raises:
        ValueError: it is not what the protocol describes.
    """
    try:
        answer: dict[str, Any] = answer_json.loads(content[: int(json_length)])
        at = int(json_length)
        for output in answer["outputs"]:
            size = (output.get("parameters") or {}).pop("binary_data_size", None)
            if size is not None:
                output["data"] = values(output["datatype"], content[at : at + size])
                at += size
    except (KeyError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(f"not an answer of the V2 protocol: {error!r}") from error
    return answer


def count(datatype: str, content: bytes) -> int | None:
    """Return how many elements a binary tensor has; None if its bytes are not exactly so many, or of no known type."""
    if datatype != "BYTES":
        form = _FORMATS.get(datatype)
        elements, left = divmod(len(content), struct.calcsize(f"<{form}")) if form else (0, 1)
        return None if left else elements
    elements = at = 0
    while at <= len(content) - _LENGTH.size:
        at += _LENGTH.size + _LENGTH.unpack_from(content, at)[0]
        elements += 1
    return elements if at == len(content) else None


def values(datatype: str, content: bytes) -> list[Any]:
    """Return the elements of a binary tensor, as a flat list."""
    if datatype != "BYTES":
        return [value for (value,) in struct.iter_unpack(f"<{_FORMATS[datatype]}", content)]
    found: list[Any] = []
    at = 0
    while at < len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        found.append(_text(content[at : at + length]))
        at += length
    return found


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
