"""Writing results to the terminal or, in one step, to a file; and showing progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from otel_kfs.reader.output_file import write_file

STDOUT = Path("-")


def write(content: str | bytes | Iterable[str | bytes], output: Path | None) -> None:
    """Write to standard output (None or `-`), or to a file (see `write_file`), in one piece or in several.

    Raises:
        ConfigError: the file can't be written.
    """
    pieces = [content] if isinstance(content, str | bytes) else content
    if output is None or output == STDOUT:
        for piece in pieces:
            click.echo(piece, nl=False)
    else:
        write_file(pieces, output)


@contextmanager
def progress(total: int, description: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show a progress bar on standard error; yield the function to call after each step, with a word on it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda word: bar.update(task, advance=1, description=f"{description} {word}")
