"""Reads JSON as model servers write it: KFServing's and every other that uses Python's own `json`."""

from __future__ import annotations

import json
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
