"""Reads answers as model servers write them, and writes them down again as one line of JSON.

KFServing's server, and every other that uses Python's own `json`, writes NaN, Infinity, lone surrogates and integers of
any size. They are read and written as they are.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import orjson


def loads(content: bytes) -> Any:
    """Return what a JSON document says: NaN, Infinity and lone surrogates are read, and integers are exact.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        return orjson.loads(content)  # which reads deeper ones, if they are JSON in the strict sense


def dumps(record: Mapping[str, Any]) -> bytes:
    """Write one line of JSON, without its end; bytes (of a BYTES tensor, say) become `{"b64": "..."}`, as in V1.

    Never raise: the model has answered, and is not to be asked again because of it. A value that can't be written is
    replaced by one that says why.
    """
    try:
        return _dumps(record)
    except (RecursionError, TypeError, ValueError):
        return _dumps({key: _writable(value) for key, value in record.items()})


def _writable(value: Any) -> Any:
    try:
        _dumps(value)
    except (RecursionError, TypeError, ValueError) as error:
        return {"not printed": f"{type(error).__name__}: {error}"}
    return value


def _dumps(value: Any) -> bytes:
    try:
        return _unicode.encode(value).encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8, but an escape
        return _ascii.encode(value).encode()


def _bytes(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    raise TypeError(f"JSON has no value of type {type(value).__name__}")


_unicode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=_bytes)
_ascii = json.JSONEncoder(separators=(",", ":"), default=_bytes)
