"""Hostile trace files and answers, made of real ones: a document is changed where a reader looks, then its bytes."""

from __future__ import annotations

import copy
import gzip
import json
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import orjson
from backports import zstd
from zipkin_support import zipkin_spans

DATA = Path(__file__).parents[1] / "data"

HOSTILE: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    2**63,
    2**64,
    -(2**63),
    10**30,
    16725225600000000000,  # the year 2500
    float("nan"),
    float("inf"),
    "",
    "0",
    "-5",
    "1e9",
    "9" * 400,
    "9" * 5000,
    "NaN",
    "soon",
    "0" * 32,
    "f" * 31,
    "e0829100e73410a7",
    "119a9ab53f073ef285861da3d27d3f77",
    "EZqatT8HPvKFhh2j0n0/dw==",
    "| a | b |\n|---|\n",
    "\x1b[2J\x1b[31mred\x1b]0;title\x07",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "\u202egnp\u2028\u0000",
    "\ud800",
    "x" * 100_000,
    [],
    {},
    [[]],
    [None],
    {"key": None},
    {"spans": [{}]},
    {"stringValue": ["a"]},
    {"intValue": "99999999999999999999999"},
    {"arrayValue": {"values": None}},
    "SPAN_KIND_SLOW",
    "send image",
    "receive",
    "preprocess",
    "predict",
]


def documents() -> dict[str, list[Any]]:
    """Real documents by their kind: what exporters wrote, and what the stores answered."""
    found: dict[str, list[Any]] = {
        "files": [orjson.loads(line) for file in sorted(DATA.glob("traces/*.jsonl")) for line in file.open("rb")]
    }
    found["zipkin"] = [zipkin_spans(file.read_bytes().splitlines()) for file in sorted(DATA.glob("traces/*.jsonl"))]
    for kind in ("jaeger-v3", "jaeger-older", "tempo"):
        answers = json.loads((DATA / "stores" / f"{kind}.json").read_text())
        found[kind] = [answer["body"] for answer in answers if isinstance(answer["body"], dict)]
    return found


def keys(document: Any) -> set[str]:
    """Every key of the objects in a document."""
    return {key for _, key in _spots(document) if isinstance(key, str)}


def hostile(random: Random) -> Any:
    """A value that should not be there."""
    return copy.deepcopy(random.choice(HOSTILE))


def changed(document: Any, random: Random) -> Any:
    """A copy of a document in which some values are another's, gone, doubled, or hostile."""
    document = orjson.loads(orjson.dumps(document))
    with suppress(RecursionError):  # it is deep enough
        for _ in range(random.randint(1, 6)):
            document = _changed_once(document, random)
    return document


def _changed_once(document: Any, random: Random) -> Any:
    spots = _spots(document)
    if not spots:
        return hostile(random)
    container, key = random.choice(spots)
    match random.randrange(6):
        case 0 | 1:
            container[key] = hostile(random)
        case 2:
            del container[key]
        case 3:
            other, other_key = random.choice(spots)
            with suppress(KeyError, IndexError):  # it may be what was taken out before
                container[key] = copy.deepcopy(other[other_key])
        case 4:
            if isinstance(container, list):
                container.extend(copy.deepcopy(container[key]) for _ in range(random.choice([1, 50])))
            else:
                new = random.choice(["spans", "trace", "data", "result", "kind", "parentSpanId"])
                container[new] = copy.deepcopy(container[key])
        case _:
            container[key] = _nested(container[key], random.choice([1, 10, 300, 600]), random)
    return document


def written(documents: list[Any], random: Random) -> bytes:
    """Documents as one file, in some format or none."""
    texts = [text(document) for document in documents]
    match random.randrange(8):
        case 0:
            content = b"[\n" + b",\n".join(each.replace(b", ", b",\n ") for each in texts) + b"\n]\n"
        case 1:
            content = b"".join(texts)
        case 2:
            content = b"".join(len(text).to_bytes(4, "big") + zstd.compress(text) for text in texts)
        case _:
            content = b"".join(text + b"\n" for text in texts)
    if random.random() < 0.2:
        content = damaged(content, random)
    match random.randrange(6):
        case 0:
            content = gzip.compress(content, 1)
        case 1:
            content = zstd.compress(content, 1)
    return damaged(content, random) if random.random() < 0.3 else content


def damaged(content: bytes, random: Random) -> bytes:
    """Bytes of which some are gone, others, or more."""
    damaged = bytearray(content)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(damaged) + 1)
        match random.randrange(5):
            case 0:
                del damaged[at:]
            case 1:
                damaged[at : at + 1] = bytes([random.randrange(256)])
            case 2:
                damaged[at:at] = random.choice([b"\n", b"\xff\xfe", b"\x00" * 9, b"}", b"[" * 3000, b'{"spans":'])
            case 3:
                del damaged[at : at + random.randint(1, 200)]
            case _:
                damaged[at:at] = damaged[at : at + random.randint(1, 2000)]
    return bytes(damaged)


def text(document: Any) -> bytes:
    """A document in JSON, with NaN, halves of surrogate pairs and integers of any size, as no sound writer would."""
    try:
        return json.dumps(document, default=str, ensure_ascii=False).encode("utf-8", "surrogatepass")
    except RecursionError:
        return b"[" * 5000


def _spots(document: Any) -> list[tuple[Any, Any]]:
    found, stack = [], [document]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            keys: Any = list(one)
        elif isinstance(one, list):
            keys = range(len(one))
        else:
            continue
        for key in keys:
            found.append((one, key))
            stack.append(one[key])
    return found


def _nested(value: Any, depth: int, random: Random) -> Any:
    wrap = random.choice(
        [
            lambda inner: [inner],
            lambda inner: {"arrayValue": {"values": [inner]}},
            lambda inner: {"trace": inner},
        ]
    )
    for _ in range(depth // 3 if depth > 300 else depth):
        value = wrap(value)
    return value
