"""What the options of several commands take: one type for each kind of value."""

from __future__ import annotations

from typing import Any

import click

from otel_kfs.traces.printable import nearest
from otel_kfs.traces.query_url import DURATIONS, parse_seconds

# A file's name, which shells complete; an error with the file comes from its reader or writer.
FILE = click.Path(readable=False)

_LONGEST_DAYS = 36_500  # longer than any clock, socket or lock can wait for is refused here, in words


class Choice(click.Choice[str]):
    """One of some words; a misspelled one is answered with the nearest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return click's message with the word that was probably meant."""
        message = super().get_invalid_choice_message(value, ctx)
        word = nearest(str(value), self.choices)
        return f"{message} Did you mean {word!r}?" if word else message


class Duration(click.ParamType[Any]):
    """A duration: `30` (seconds), `500ms`, `30s`, `5m`, `1h` or `7d`; the command gets seconds.

    With `keep_text`, it gets the text as it was given, once that is known to be one.
    """

    name = "duration"

    def __init__(self, *, or_zero: bool = False, keep_text: bool = False) -> None:
        self.or_zero = or_zero
        self.keep_text = keep_text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the seconds, or fail in one line that says what a duration looks like."""
        if not isinstance(value, str):
            return value
        try:
            seconds = parse_seconds(value)
        except ValueError:
            self.fail(f"{value!r} is not {DURATIONS}", param, ctx)
        if seconds == 0 and not self.or_zero:
            self.fail("it must be longer than 0", param, ctx)
        if seconds > _LONGEST_DAYS * 86_400:
            self.fail(f"{value!r} is longer than {_LONGEST_DAYS} days", param, ctx)
        return value if self.keep_text else seconds
