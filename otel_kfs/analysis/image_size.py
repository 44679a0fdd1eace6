"""Image sizes: which of them count as equal, and what they are called in tables.

Sizes are equal that lie within TOLERANCE of the smallest of their group. While images are read, they are kept apart by
their sizes to three digits, so that memory stays bounded however much they differ; when all are read, neighbours become
one group. A label has one decimal, `1.1MB`, and a second where two groups would share it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple, TypeVar

TOLERANCE = 0.01  # of the smallest size of a group
UNKNOWN = "?"

_PAYLOAD = " JSON"  # where only the payload's size is known
_DIGITS = 3  # two groups are at least one unit of the third digit apart: TOLERANCE
_UNITS = (("B", 1), ("kB", 10**3), ("MB", 10**6), ("GB", 10**9))
_LABEL = re.compile(r"(?<![\d.])(\d{1,20}(?:\.\d{1,20})?)\s*([kKmMgG]?)i?[bB]")
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}

_Key = TypeVar("_Key", bound=Hashable)


class SizeRange(NamedTuple):
    """The smallest and the largest size of some images, bytes."""

    low: int
    high: int

    def widen(self, other: SizeRange | None) -> SizeRange:
        """Return the range that holds both."""
        return self if other is None else SizeRange(min(self.low, other.low), max(self.high, other.high))


def rounded_size(image_size: int | None, payload_size: int | None) -> str:
    """Return an image's size to three digits, its payload's where the image's is not known: what keeps images apart."""
    if image_size is not None:
        return str(_rounded(image_size))
    return UNKNOWN if payload_size is None else f"{_rounded(payload_size)}{_PAYLOAD}"


def size_label(image_size: int | None, payload_size: int | None) -> str:
    """Write an image's size as the measurement of 2020 did, `1.1MB`; its JSON's where the image's is not known."""
    if image_size is not None:
        return _label(image_size, 1)
    return UNKNOWN if payload_size is None else f"{_label(payload_size, 1)}{_PAYLOAD}"


def group_labels(ranges: Mapping[str, SizeRange | None]) -> dict[str, str]:
    """Return the label of the group that each size belongs to, by what keeps them apart (or by an earlier label).

    What has no size in bytes keeps its label.
    """
    found = {size: size for size, of_size in ranges.items() if of_size is None}
    for payload in (False, True):
        known = {
            size: of_size
            for size, of_size in ranges.items()
            if of_size is not None and size.endswith(_PAYLOAD) is payload
        }
        first: dict[str, int] = {}
        start = None
        for size, of_size in sorted(known.items(), key=lambda item: (*item[1], item[0])):
            if start is None or of_size.high > start * (1 + TOLERANCE):
                start = of_size.low
            first[size] = start
        labels = _distinct_labels(set(first.values()))
        found |= {size: labels[smallest] + _PAYLOAD * payload for size, smallest in first.items()}
    return found


def is_payload_label(label: str) -> bool:
    """Return whether a label is of a payload's size, because the image's is not known."""
    return label.endswith(_PAYLOAD)


def labelled_size(label: str) -> int | None:
    """Return the size that a label names, bytes; None where it names none."""
    match = _LABEL.search(label)
    return round(float(match[1]) * _BYTES[match[2].lower()]) if match else None


def equal_sizes(one: float, other: float) -> bool:
    """Return whether two sizes, bytes, count as equal."""
    return abs(one - other) <= TOLERANCE * min(one, other)


def nearest_equal(size: int, others: Iterable[tuple[_Key, int]]) -> _Key | None:
    """Return the key of the nearest size that counts as equal; None if there is none."""
    equal = [(abs(size - other), key) for key, other in others if equal_sizes(size, other)]
    return min(equal, key=lambda one: one[0])[1] if equal else None


def _rounded(size: int) -> int:
    return round(size, min(0, _DIGITS - len(str(size))))


def _label(size: int, decimals: int) -> str:
    text = ""
    for unit, scale in _UNITS:
        number = f"{size / scale:.{decimals if scale > 1 else 0}f}"
        text = number + unit
        if float(number) < 1000:  # 999,950 bytes are 1.0MB, not 1000.0kB
            break
    return text


def _distinct_labels(sizes: Iterable[int]) -> dict[int, str]:
    """Return the label of each size: with a second decimal where others would have the same."""
    short = {size: _label(size, 1) for size in sizes}
    shared = {label for label, count in Counter(short.values()).items() if count > 1}
    return {size: _label(size, 2) if label in shared else label for size, label in short.items()}
