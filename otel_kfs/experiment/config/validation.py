"""Takes the valid values from a document, and notes a line for each mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from otel_kfs.errors import ConfigErrors
from otel_kfs.traces.printable import did_you_mean
from otel_kfs.traces.query_url import parse_seconds

NONE = "none"  # TOML has no null

# --- rules: each returns the value, or raises ValueError with what is allowed ---

Rule = Callable[[Any], Any]


def one_of(*allowed: str) -> Rule:
    """Allow one of these texts."""

    def rule(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            meant = did_you_mean(value, allowed) if isinstance(value, str) else ""
            raise ValueError(f"choose {' or '.join(allowed)}{meant}")
        return value

    return rule


def number(least: float, most: float, *, whole: bool = True) -> Rule:
    """Allow a number from `least` to `most`."""

    def rule(value: Any) -> float:
        kinds = int if whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"give a {'whole ' if whole else ''}number from {least:.10g} to {most:.10g}")
        return value

    return rule


def seconds(least: float, most: float) -> Rule:
    """Allow a duration, as a number of seconds or as text such as "5m"; the value is the seconds."""
    allowed = number(least, most, whole=False)

    def rule(value: Any) -> Any:
        try:
            return allowed(parse_seconds(value) if isinstance(value, str) else value)
        except ValueError:
            wanted = f'give seconds, from {least:.10g} to {most:.10g}, or text such as "500ms", "30s" or "5m"'
            raise ValueError(wanted) from None

    return rule


def text(value: Any) -> str:
    """Allow any text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("give text")
    return value


def flag(value: Any) -> bool:
    """Allow true or false."""
    if not isinstance(value, bool):
        raise ValueError("choose true or false")  # noqa: TRY004 - one type for all rules
    return value


def anything(value: Any) -> Any:
    """Allow everything: it is validated elsewhere."""
    return value


def texts(value: Any) -> list[str]:
    """Allow a list of texts, at least one."""
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise ValueError('give a list of texts, like ["1.1MB"]')
    return value


def rates(value: Any) -> tuple[float, ...]:
    """Allow a list of rates (images a second), each once."""
    rule = number(0.01, 10_000, whole=False)
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise ValueError("give a list of different numbers of images a second, like [1, 2, 4]")
    return tuple(rule(item) for item in value)


def or_none(rule: Rule) -> Rule:
    """Allow what the rule allows, or the word for nothing."""

    def either(value: Any) -> Any:
        if value == NONE:
            return None
        try:
            return rule(value)
        except ValueError as error:
            raise ValueError(f'{error}, or "{NONE}"') from None

    return either


def setting(value: Any) -> str:
    """Allow a librdkafka setting's value; it becomes text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("give text or a number")


class Validator:
    """Takes valid values, and notes where others are."""

    def __init__(self, path: Path) -> None:
        self.file = path
        self._errors: list[str] = []

    def error(self, key: str, what: str) -> None:
        """Note a mistake."""
        self._errors.append(f"{self.file}: {key}: {what}")

    def raise_errors(self) -> None:
        """Raise ConfigErrors with a line for each mistake, if there are any."""
        if self._errors:
            raise ConfigErrors(dict.fromkeys(self._errors))

    def value(self, value: Any, key: str, rule: Rule) -> Any:
        """Return what the rule makes of a value; None if it is a mistake."""
        try:
            return rule(value)
        except ValueError as error:
            self.error(key, f"{excerpt(value)} is not allowed; {error}")
            return None

    def table(self, value: Any, where: str, rules: Mapping[str, Rule]) -> dict[str, Any]:
        """Return the table's valid values."""
        if not isinstance(value, Mapping):
            self.error(where, "it is not a table of keys and values")
            return {}
        found = {}
        for key, item in value.items():
            full = f"{where}.{key}" if where else key
            if key not in rules:
                self.error(full, f"unknown key{did_you_mean(key, rules)}; the keys are {', '.join(rules)}")
            elif (taken := self.value(item, full, rules[key])) is not None:
                found[key] = taken
        return found


def excerpt(value: Any) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
