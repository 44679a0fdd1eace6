"""Takes values from a document that are as they should be, and notes a line for each that is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from otel_kfs.errors import ConfigErrors

NONE = "none"  # TOML has no null

# --- what a value may be: each returns the value, or raises ValueError with what is allowed ---

Rule = Callable[[Any], Any]


def one_of(*allowed: str) -> Rule:
    """One of these texts."""

    def rule(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"choose {' or '.join(allowed)}")
        return value

    return rule


def number(least: float, most: float, *, whole: bool = True) -> Rule:
    """A number between two others, them included."""

    def rule(value: Any) -> float:
        kinds = int if whole else (int, float)
        if not isinstance(value, kinds) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"give a {'whole ' if whole else ''}number from {least:.10g} to {most:.10g}")
        return value

    return rule


def text(value: Any) -> str:
    """Any text but none."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("give text")
    return value


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("choose true or false")  # noqa: TRY004 - one kind for all rules
    return value


def anything(value: Any) -> Any:
    """Whatever it is; it is looked at elsewhere."""
    return value


def texts(value: Any) -> list[str]:
    """A list of texts, at least one."""
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise ValueError('give a list of texts, as ["1.1MB"]')
    return value


def rates(value: Any) -> tuple[float, ...]:
    """A list of numbers of images a second, each once."""
    rule = number(0.01, 10_000, whole=False)
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise ValueError("give a list of images a second, each once, as [1, 2, 4]")
    return tuple(rule(item) for item in value)


def or_none(rule: Rule) -> Rule:
    """What the rule says, or the word for nothing."""

    def either(value: Any) -> Any:
        if value == NONE:
            return None
        try:
            return rule(value)
        except ValueError as error:
            raise ValueError(f'{error}, or "{NONE}"') from None

    return either


def setting(value: Any) -> str:
    """A librdkafka setting's value, as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError("give text or a number")


class Check:
    """Takes values that are as they should be, and notes where they are not."""

    def __init__(self, path: Path) -> None:
        self.file = path
        self._mistakes: list[str] = []

    def mistake(self, key: str, what: str) -> None:
        """Note one."""
        self._mistakes.append(f"{self.file}: {key}: {what}")

    def raise_mistakes(self) -> None:
        """Raise Mistakes with a line for each mistake, if there are any."""
        if self._mistakes:
            raise ConfigErrors(dict.fromkeys(self._mistakes))

    def value(self, value: Any, key: str, rule: Rule) -> Any:
        """What the rule makes of a value; None if it is a mistake."""
        try:
            return rule(value)
        except ValueError as error:
            self.mistake(key, f"{shown(value)} is not allowed; {error}")
            return None

    def table(self, value: Any, where: str, rules: Mapping[str, Rule]) -> dict[str, Any]:
        """The table's values that are as they should be."""
        if not isinstance(value, Mapping):
            self.mistake(where, "it is no table of keys and values")
            return {}
        found = {}
        for key, item in value.items():
            full = f"{where}.{key}" if where else key
            if key not in rules:
                self.mistake(full, f"there is no such key; there are {', '.join(rules)}")
            elif (taken := self.value(item, full, rules[key])) is not None:
                found[key] = taken
        return found


def shown(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
