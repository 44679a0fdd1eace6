"""Reads a stamps file: TOML that says of which spans' edges a path is made; each mistake is one line.

    title = "Orders"
    size = "order.items"
    unit = "items"
    group = "payment.method"

    [[stamp]]
    number = 1
    edge = "start"
    span = "POST /orders"
    service = "shop"

    [[stamp]]
    segment = "stock check"
    edge = "end"
    span = "reserve *"
    attributes = { "db.system.name" = "postgresql" }

    [[stamp]]
    number = 4
    segment = "confirmation"
    edge = "end"
    span = "POST /orders"

The stamps stand in the order of the path. The first is number 1 and the last number 4, the tables' 4-1; 2 and 3 may be
between them, and any others without a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from otel_kfs.analysis.toml_file import read_toml
from otel_kfs.errors import ConfigErrors
from otel_kfs.traces.printable import did_you_mean, excerpt
from otel_kfs.traces.span import Kind, Span

EDGES = ("start", "end")
CHOICES = ("first", "last")
KINDS = tuple(kind.name for kind in Kind if kind is not Kind.UNSPECIFIED)
FIRST, SECOND, THIRD, LAST = 1, 2, 3, 4

_TOP = ("title", "size", "unit", "group", "stamp")
_STAMP = ("number", "segment", "edge", "span", "service", "kind", "attributes", "which")
_WHO = ("span", "service", "kind", "attributes")  # one of them at least
_MOST_STAMPS = 50
# What the keys are called elsewhere: by OpenTelemetry, Jaeger, Zipkin and SQL.
_ELSEWHERE = {
    "name": "span",
    "span_name": "span",
    "operation": "span",
    "operationName": "span",
    "resource": "service",
    "span_kind": "kind",
    "type": "kind",
    "tags": "attributes",
    "attrs": "attributes",
    "at": "edge",
    "when": "edge",
    "id": "number",
    "stage": "segment",
    "step": "segment",
    "label": "segment",
}
_ELSEWHERE_AT_TOP = {"name": "title", "label": "title", "group_by": "group", "groupby": "group", "spans": "stamp"}


@dataclass(frozen=True, slots=True)
class Stamp:
    """An edge of a span; what a span has to be is "" or empty where any will do.

    `segment` is what the time since the stamp before it is called; `last` takes the last span that fits, not the first.
    """

    edge: str
    number: int | None = None
    segment: str = ""
    span: str = ""
    service: str = ""
    kind: Kind | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    last: bool = False

    def fits(self, span: Span) -> bool:
        """Return whether a span can be this stamp's; `*`, `?` and `[...]` stand for any text, as in file names."""
        return (
            (self.kind is None or span.kind is self.kind)
            and (not self.span or fnmatchcase(span.name, self.span))
            and (not self.service or fnmatchcase(span.service, self.service))
            and all(
                key in span.attributes and fnmatchcase(as_text(span.attributes[key]), wanted)
                for key, wanted in self.attributes
            )
        )

    def at(self, span: Span) -> int:
        """Return the moment of the edge, ns since the epoch by the clock of the span's host."""
        return span.start if self.edge == "start" else span.end


@dataclass(frozen=True, slots=True)
class StampsFile:
    """What a stamps file says; `size` and `group` are attributes' keys, "" where there is none."""

    title: str
    stamps: tuple[Stamp, ...]
    size: str = ""
    unit: str = ""  # of the size; "" is bytes
    group: str = ""

    @property
    def keys(self) -> frozenset[str]:
        """The attributes that it asks for."""
        keys = (key for stamp in self.stamps for key, _ in stamp.attributes)
        return frozenset(filter(None, (self.size, self.group, *keys)))


def as_text(value: Any) -> str:
    """Return an attribute's value as text: `true`, `3`, `card`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def load(path: Path) -> StampsFile:
    """Read and check a file.

    Raises:
        ConfigError: it can't be read, or has mistakes; the message has a line for each.
    """
    return _Checked(path).stamps_file(read_toml(path))


class _Checked:
    """Takes what is valid from a document, and notes a line for each mistake."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._errors: list[str] = []

    def stamps_file(self, document: Mapping[str, Any]) -> StampsFile:
        """Return what the document says.

        Raises:
            ConfigErrors: there are mistakes.
        """
        self._check_keys(document, "", _TOP)
        title, size, unit, group = (self._text(document, "", key) for key in ("title", "size", "unit", "group"))
        if unit and not size:
            self._error("unit", "there is no size that it could be the unit of: add size, or leave it out")
        tables = document.get("stamp")
        stamps: list[Stamp] = []
        if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
            self._error("stamp", "give each stamp as a table [[stamp]], in the order of the path")
        elif not 2 <= len(tables) <= _MOST_STAMPS:
            self._error("stamp", f"there are {len(tables)}; give 2 to {_MOST_STAMPS}")
        else:
            stamps = [self._stamp(table, f"stamp {number}") for number, table in enumerate(tables, 1)]
            self._check_order(stamps)
        if self._errors:
            raise ConfigErrors(dict.fromkeys(self._errors))
        return StampsFile(title or self._path.stem, tuple(stamps), size, unit, group)

    def _stamp(self, table: Mapping[str, Any], where: str) -> Stamp:
        self._check_keys(table, where, _STAMP)
        if "edge" not in table:
            self._error(f"{where}.edge", f"it is missing: choose {' or '.join(EDGES)}")
        if not any(key in table for key in _WHO):
            self._error(where, f"nothing says which span it is of: give one or more of {', '.join(_WHO)}")
        number = table.get("number")
        if number is not None and (type(number) is not int or not FIRST <= number <= LAST):
            self._not_allowed(f"{where}.number", number, "choose 1, 2, 3 or 4, or leave it out")
            number = None
        kind = self._one_of(table, where, "kind", KINDS)
        return Stamp(
            self._one_of(table, where, "edge", EDGES),
            number,
            self._text(table, where, "segment"),
            self._text(table, where, "span"),
            self._text(table, where, "service"),
            Kind[kind] if kind else None,
            self._attributes(table, where),
            self._one_of(table, where, "which", CHOICES) == "last",
        )

    def _attributes(self, table: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
        given = table.get("attributes", {})
        if not isinstance(given, Mapping):
            self._not_allowed(f"{where}.attributes", given, 'give a table, like { "http.route" = "/orders" }')
            return ()
        attributes = dict(_with_dots(given))
        for key, value in attributes.items():
            if not isinstance(value, str | int | float):
                self._not_allowed(f"{where}.attributes.{key}", value, "give text, a number, true or false")
        return tuple((key, as_text(value)) for key, value in attributes.items())

    def _check_order(self, stamps: list[Stamp]) -> None:
        numbers = [stamp.number for stamp in stamps if stamp.number is not None]
        if stamps[0].number != FIRST:
            self._error("stamp 1.number", "the first stamp is number 1")
        if stamps[-1].number != LAST:
            self._error(f"stamp {len(stamps)}.number", "the last stamp is number 4")
        if numbers != sorted(set(numbers)):
            self._error("stamp", f"their numbers are {', '.join(map(str, numbers))}; give each once, in their order")
        if stamps[0].segment:
            self._error("stamp 1.segment", "there is no time before the first stamp: leave it out")
        named: dict[str, int] = {}
        for place, stamp in enumerate(stamps[1:], 2):
            key = f"stamp {place}.segment"
            if not stamp.segment:
                self._error(key, "it is missing: what the time since the stamp before is called")
            elif (other := named.setdefault(stamp.segment, place)) != place:
                self._error(key, f"stamp {other} has it, too: give each a name of its own")

    def _check_keys(self, table: Mapping[str, Any], where: str, keys: tuple[str, ...]) -> None:
        elsewhere = _ELSEWHERE if where else _ELSEWHERE_AT_TOP
        for key, value in table.items():
            if key not in keys:
                meant = did_you_mean(elsewhere.get(key, key), keys)
                if where and not meant and ("." in key or isinstance(value, Mapping)):
                    meant = " (an attribute? give it under attributes)"
                self._error(_full(where, key), f"unknown key{meant}; the keys are {', '.join(keys)}")

    def _text(self, table: Mapping[str, Any], where: str, key: str) -> str:
        value = table.get(key, "")
        if not isinstance(value, str) or (key in table and not value.strip()):
            self._not_allowed(_full(where, key), value, "give text")
            return ""
        return value

    def _one_of(self, table: Mapping[str, Any], where: str, key: str, allowed: tuple[str, ...]) -> str:
        value = table.get(key, "")
        if key in table and value not in allowed:
            self._not_allowed(
                _full(where, key), value, f"choose {' or '.join(allowed)}", did_you_mean(str(value), allowed)
            )
            return ""
        return str(value)

    def _not_allowed(self, key: str, value: Any, allowed: str, meant: str = "") -> None:
        self._error(key, f"{excerpt(repr(value), 60)} is not allowed{meant}; {allowed}")

    def _error(self, key: str, what: str) -> None:
        self._errors.append(f"{self._path}: {key}: {what}")


def _full(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _with_dots(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield attributes by their whole names: TOML takes `http.route` without quotes for a table in a table."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from _with_dots(value, f"{before}{key}.")
        else:
            yield before + key, value
