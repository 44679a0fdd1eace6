"""Text from elsewhere - names in spans, what a store says - as part of one line."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text without line ends and control sequences."""
    return "".join(character if character.isprintable() else " " for character in text)


def excerpt(text: str, longest: int = 300) -> str:
    """Return the same, cut after so many characters."""
    shown = printable(text[: longest + 1])
    return shown if len(text) <= longest else f"{shown[:longest]}..."
