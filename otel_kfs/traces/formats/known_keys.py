"""Keys of a parsed document that are not read: those that the structs of its format do not have."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

# What a struct, a list or a dict holds: the keys of the first with what each holds, or the shape of the items of the
# others. None: nothing in which there could be further keys.
_Shape = dict[str, Any] | list[Any] | None


def unknown_keys(document: Any, struct: type[msgspec.Struct]) -> Iterator[str]:
    """Yield the keys that the struct, or one within it, does not have, and under which there is something.

    What is not of the struct's shape is passed over: its reader reports it.
    """
    return _unknown(document, _shape(struct))


def _unknown(value: Any, shape: _Shape) -> Iterator[str]:
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return
        every = shape.get("*")  # a dict's values, whatever their keys
        for key, inner in value.items():
            if inner:
                if every is None and key not in shape:
                    yield key
                elif below := every or shape[key]:
                    yield from _unknown(inner, below)
    elif shape and isinstance(value, list):
        for item in value:
            yield from _unknown(item, shape[0])


@cache
def _shape(struct: type[msgspec.Struct]) -> _Shape:
    return _of(msgspec.inspect.type_info(struct), {})


def _of(info: msgspec.inspect.Type, known: dict[type, dict[str, Any]]) -> _Shape:
    if isinstance(info, msgspec.inspect.StructType):
        if info.cls not in known:
            shape: dict[str, Any] = {}
            known[info.cls] = shape
            shape.update({field.encode_name: _of(field.type, known) for field in info.fields})
        return known[info.cls]
    if isinstance(info, msgspec.inspect.ListType):
        inner = _of(info.item_type, known)
        return [inner] if inner is not None else None
    if isinstance(info, msgspec.inspect.DictType):
        inner = _of(info.value_type, known)
        return {"*": inner} if inner is not None else None
    if isinstance(info, msgspec.inspect.UnionType):
        return next((found for one in info.types if (found := _of(one, known)) is not None), None)
    return None
