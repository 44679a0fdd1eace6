"""Text from elsewhere - names in spans, what a store says, a misspelled word - as part of one line."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST_WORD = 100
# How alike two words are, from 0 to 1. Of different lengths, short ones without any likeness are at the lower: `id`,
# `kind`; of one length, those with a letter replaced are: `urI`, `url`.
_ALIKE, _ALIKE_AND_AS_LONG = 0.7, 0.6


def printable(text: str) -> str:
    """Return text without line ends and control sequences."""
    return "".join(character if character.isprintable() else " " for character in text)


def excerpt(text: str, longest: int = 300) -> str:
    """Return the same, cut after so many characters."""
    shown = printable(text[: longest + 1])
    return shown if len(text) <= longest else f"{shown[:longest]}..."


def nearest(given: str, allowed: Iterable[str]) -> str | None:
    """Return which of the allowed words was probably meant, if any is near."""
    import difflib  # takes as long as all of a command's own module

    by_lower = {word.lower(): word for word in allowed}
    word = given[:_LONGEST_WORD].lower()
    as_long = [one for one in by_lower if len(one) == len(word)]
    found = difflib.get_close_matches(word, by_lower, 1, _ALIKE)
    found = found or difflib.get_close_matches(word, as_long, 1, _ALIKE_AND_AS_LONG)
    return by_lower[found[0]] if found else None


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """Return the same as the middle of a sentence, ` (did you mean jaeger:?)`, or nothing."""
    word = nearest(given, allowed)
    return f" (did you mean {word}?)" if word else ""
