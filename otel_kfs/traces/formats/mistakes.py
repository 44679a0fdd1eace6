"""What is not as a format wants it, in words: where it is in a document, what is there, and what belongs there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from otel_kfs.traces.store import NOT_TRACES, MalformedError

_AT = re.compile(r"(?s)(?P<what>.*) - at `\$\.?(?P<where>.*)`")
_OTHER = re.compile(r"Expected `(?P<due>[a-z| ]+)`, got `(?P<there>\w+)`")
_INDEX = re.compile(r"\[(?:\d+|\.\.\.)\]")
_WORDS = {
    "array": "an array",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "an object",
    "str": "text",
}


@contextmanager
def in_words(document: Any, struct: type[msgspec.Struct]) -> Iterator[None]:
    """Let what is raised because a document is not as its struct wants it say where that is.

    Raises:
        MalformedError: in place of one of NOT_TRACES.
    """
    try:
        yield
    except MalformedError:
        raise
    except NOT_TRACES as error:
        raise MalformedError(_mistake(document, struct) or _said(error)) from error


def _mistake(document: Any, struct: type[msgspec.Struct]) -> str | None:
    """Return the first place at which a document is not as its struct wants it, and how."""
    try:
        # By way of text: what is left unread in a struct is read of text alone.
        msgspec.json.decode(msgspec.json.encode(document), type=struct, strict=False)
    except msgspec.ValidationError as error:
        return _in_words(str(error))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return None


def _in_words(invalid: str) -> str | None:
    if "unknown field" in invalid:
        return None  # which is counted, and no mistake
    at = _AT.fullmatch(invalid)
    what, where = (at["what"], _INDEX.sub("", at["where"])) if at else (invalid, "")
    place = f"`{where}`" if where else "it"
    if other := _OTHER.fullmatch(what):
        due = [word for word in other["due"].split(" | ") if word != "null"]
        return f"{place} is {_word(other['there'])}, not {' or '.join(map(_word, due))}"
    return f"{place}: {what[:1].lower()}{what[1:]}"


def _word(name: str) -> str:
    return _WORDS.get(name, name)


def _said(error: Exception) -> str:
    """Return what an error says, where it is not about Python's types."""
    if isinstance(error, KeyError):
        return f"there is no {error}"
    return str(error) if isinstance(error, ValueError) else "it is not of the form that its format has"
