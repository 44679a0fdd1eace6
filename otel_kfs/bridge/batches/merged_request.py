"""Requests of several records as one, and its answer taken apart again.

What is merged are the instances of V1 and the tensors of V2 (Open Inference Protocol), along their first dimension:
what a model does with the one it does with the others. Requests are merged only if they are alike in all else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otel_kfs.client.encodings import v2
from otel_kfs.errors import SendError

_V1, _V2 = "v1", "v2"
_MERGEABLE_HEADERS = {"content-type", v2.HEADER_LENGTH.lower()}


@dataclass(frozen=True)
class Part:
    """One record's request, taken apart."""

    kind: Any  # parts of one kind can be merged
    count: int  # instances, or rows of each tensor
    size: int  # bytes of the request
    rest: Mapping[str, Any]  # the request's fields besides these
    instances: Sequence[Any] = ()  # V1's
    tensors: Sequence[Mapping[str, Any]] = ()  # V2's
    binary: Sequence[bytes | None] = ()  # V2's binary data, a tensor each; None where its data is JSON
    content_type: str | None = None


def parsed(body: bytes, headers: Mapping[str, str]) -> Part | None:
    """Take a request apart; None where it is of no kind that can be merged, or not what it should be.

    (That is for the model's server to say, of this one alone.)
    """
    if set(headers) - _MERGEABLE_HEADERS:
        return None
    try:
        return _parsed(body, headers)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        return None


def _parsed(body: bytes, headers: Mapping[str, str]) -> Part | None:
    length = headers.get(v2.HEADER_LENGTH.lower())
    end = len(body) if length is None else int(length)
    request = json.loads(body[:end])  # Python's own, which keeps NaN and large integers as they are
    content_type = headers.get("content-type")
    if "instances" in request and length is None:
        instances = request.pop("instances")
        if not isinstance(instances, list) or not instances:
            return None
        alike = (_V1, content_type, _text(request))
        return Part(alike, len(instances), len(body), request, instances=instances, content_type=content_type)
    tensors = request.pop("inputs")
    rest = {key: value for key, value in request.items() if key != "id"}
    binary: list[bytes | None] = []
    shapes = []
    for tensor in tensors:
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        rows, *row = shape = tensor["shape"]
        # One with other values than its shape says would move those of the records behind it to other rows.
        if size is not None:
            content = body[end : end + int(tensor["parameters"].pop("binary_data_size"))]
            binary.append(content)
            end += len(content)
            is_nested, fits = False, v2.count(tensor["datatype"], content) == math.prod(shape)
        else:
            binary.append(None)
            is_nested = isinstance(tensor["data"][0], list)
            fits = _has_shape(tensor["data"], shape if is_nested else [math.prod(shape)])
        if not fits:
            return None
        extra = {key: value for key, value in tensor.items() if key not in {"shape", "data"}}
        shapes.append((rows, row, is_nested, size is None, extra))
    counts = {rows for rows, *_ in shapes}
    if len(counts) != 1 or end != len(body) or not (count := counts.pop()):
        return None
    kind = (_V2, content_type, _text(rest), _text([others for _, *others in shapes]))
    # The record's own id goes back into its answer.
    return Part(kind, count, len(body), request, tensors=tensors, binary=binary, content_type=content_type)


def _has_shape(data: Any, shape: Sequence[int]) -> bool:
    """Tell whether these are lists of exactly such lengths, one within another, with no more of them below."""
    if not isinstance(data, list) or len(data) != shape[0]:
        return False
    if len(shape) > 1:
        return all(_has_shape(one, shape[1:]) for one in data)
    return list not in set(map(type, data))


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


@dataclass(frozen=True)
class MergedRequest:
    """One request for several records."""

    body: bytes
    headers: Mapping[str, str]
    parts: Sequence[Part]

    def split(self, answer: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return each record's part of the answer, as if it had been asked alone.

        Raises:
            SendError: the answer does not have as many predictions as there were instances.
        """
        rest = dict(answer)
        counts = [part.count for part in self.parts]
        total = sum(counts)
        try:
            if self.parts[0].tensors:
                outputs = rest.pop("outputs")
                taken = [_split_tensor(tensor, counts, total) for tensor in outputs]
                found = [{**rest, "outputs": [each[number] for each in taken]} for number in range(len(counts))]
                for one, part in zip(found, self.parts, strict=True):
                    one.pop("id", None)
                    if "id" in part.rest:
                        one["id"] = part.rest["id"]
                return found
            return [{**rest, "predictions": rows} for rows in _rows(rest.pop("predictions"), counts, total)]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise SendError(
                f"the model's answer to {total} instances of {len(counts)} records can't be taken apart: {error}", 200
            ) from error


def merged(parts: Sequence[Part]) -> MergedRequest:
    """Merge parts of one kind."""
    first = parts[0]
    headers = {} if first.content_type is None else {"content-type": first.content_type}
    if not first.tensors:
        instances = [instance for part in parts for instance in part.instances]
        return MergedRequest(_dumps({**first.rest, "instances": instances}), headers, parts)
    rest = {key: value for key, value in first.rest.items() if key != "id"}
    tensors, binary = [], []
    for number, tensor in enumerate(first.tensors):
        same = [part.tensors[number] for part in parts]
        whole = {**tensor, "shape": [sum(part.count for part in parts), *tensor["shape"][1:]]}
        if first.binary[number] is None:
            whole["data"] = [value for one in same for value in one["data"]]
        else:
            content = b"".join(part.binary[number] or b"" for part in parts)
            whole["parameters"] = {**(tensor.get("parameters") or {}), "binary_data_size": len(content)}
            binary.append(content)
        tensors.append(whole)
    head = _dumps({**rest, "inputs": tensors})
    if binary:
        headers[v2.HEADER_LENGTH.lower()] = str(len(head))
    return MergedRequest(b"".join([head, *binary]), headers, parts)


def _rows(rows: Any, counts: Sequence[int], total: int) -> list[list[Any]]:
    if not isinstance(rows, list) or len(rows) != total:
        raise ValueError(f"{len(rows) if isinstance(rows, list) else 'no list of'} predictions")
    found, at = [], 0
    for count in counts:
        found.append(rows[at : at + count])
        at += count
    return found


def _split_tensor(tensor: Mapping[str, Any], counts: Sequence[int], total: int) -> list[dict[str, Any]]:
    rows, *row = tensor["shape"]
    if rows != total:
        raise ValueError(f"a tensor of the shape {tensor['shape']}")
    data = tensor["data"]
    width = 1 if len(data) == total else math.prod(row)  # values of one row, unless the data is nested
    if len(data) != total * width:
        raise ValueError(f"a tensor of {len(data)} values")
    taken = _rows(data, [count * width for count in counts], total * width)
    return [{**tensor, "shape": [count, *row], "data": values} for count, values in zip(counts, taken, strict=True)]
