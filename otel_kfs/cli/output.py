"""Writing results to the terminal or, in one step, to a file; and showing progress meanwhile."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from otel_kfs.errors import ConfigError


def write(text: str | bytes, output: Path | None) -> None:
    """Write to standard output, or replace a file (text as UTF-8) once everything is written.

    Raises:
        ConfigError: the file can't be written.
    """
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        with tempfile.NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False) as part:
            try:
                part.write(text.encode() if isinstance(text, str) else text)
                part.close()
                os.chmod(part.name, 0o666 & ~_umask())
                os.replace(part.name, output)
            except BaseException:
                os.unlink(part.name)
                raise
    except OSError as error:
        raise ConfigError(f"can't write {output}: {error.strerror}") from error


@contextmanager
def progress(total: int, description: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show a progress bar on standard error; yield the function to call after each step, with a word on it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        task = bar.add_task(description, total=total)
        yield lambda word: bar.update(task, advance=1, description=f"{description} {word}")


def _umask() -> int:
    """Return the umask: a temporary file is private, but a result gets the permissions of any new file."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
