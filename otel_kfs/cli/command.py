"""What all commands have in common: --quiet and --verbose, help in groups, and options that go by a new name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from otel_kfs.cli.messages import log_to_stderr, say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from click.types import OptionHelpExtra

_Function = TypeVar("_Function", bound=Callable[..., Any])

_USUAL = "Options"
_HYPHEN = "\u2011"  # where no line breaks
_VERBOSITY = {
    "verbose": (["-v", "--verbose"], "Write a log to standard error."),
    "quiet": (["-q", "--quiet"], "Print results and errors only."),
}


class _Formatter(click.HelpFormatter):
    """Breaks lines between words: names of options and files are not cut at their hyphens."""

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, text.replace("-", _HYPHEN)) for name, text in rows], col_max, col_spacing)

    def getvalue(self) -> str:
        return super().getvalue().replace(_HYPHEN, "-")


class Context(click.Context):
    """Of our commands: with our help."""

    formatter_class = _Formatter


class Option(click.Option):
    """An option in a `group` of its command's help; without one, among the general options."""

    def __init__(self, *args: Any, group: str = _USUAL, **settings: Any) -> None:
        self.group = group
        super().__init__(*args, **settings)

    def get_help_extra(self, ctx: click.Context) -> OptionHelpExtra:
        """Leave out click's `x>=1`: the help text says what is allowed where that is not obvious."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


class OldName(click.Option):
    """An option's old name: it is not in the help, still works, and warns with the new name."""

    def __init__(self, *args: Any, now: str, **settings: Any) -> None:
        self.now = now
        super().__init__(*args, **{"hidden": True, "help": f"The old name of {now}.", **settings})

    def hand_over(self, ctx: click.Context) -> None:
        """Give the value to the option that has the new name.

        Raises:
            UsageError: that was given, too.
        """
        value = ctx.params.pop(str(self.name), None)
        if value is None:
            return
        new = next(str(one.name) for one in ctx.command.params if self.now in one.opts)
        if ctx.get_parameter_source(new) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{self.opts[0]} is the old name of {self.now}: give one of them", ctx)
        ctx.params[new] = value
        ctx.set_parameter_source(new, ParameterSource.COMMANDLINE)
        if not ctx.ensure_object(dict).get("quiet"):
            say(f"{self.opts[0]} is called {self.now} now; the old name still works")


def option(*names: str, **settings: Any) -> Callable[[_Function], _Function]:
    """Add an option to a command, as `click.option` does; `group` is the heading that it stands under in the help."""
    return click.option(*names, cls=Option, **settings)


def old_name(old: str, now: str) -> Callable[[_Function], _Function]:
    """Add an option's old name to a command."""
    return click.option(old, cls=OldName, now=now)


class Command(click.Command):
    """One of our commands; the decorated function finds in `obj["quiet"]` whether to print results and errors only."""

    context_class = Context

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.params += verbosity_options()

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, then see to the old names."""
        rest = super().parse_args(ctx, args)
        for one in self.params:
            if isinstance(one, OldName):
                one.hand_over(ctx)
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in their groups, the usual ones first."""
        groups: dict[str, list[tuple[str, str]]] = {_USUAL: []}
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is not None and isinstance(one, click.Option):
                groups.setdefault(getattr(one, "group", _USUAL), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def command(name: str | None = None, **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function, as `click.command` does."""
    return click.command(name, cls=Command, **settings)


def verbosity_options() -> list[click.Parameter]:
    """Return --verbose and --quiet, which mean the same before and after a command's name."""
    return [
        Option(names, is_flag=True, expose_value=False, callback=_set_verbosity, help=text)
        for names, text in _VERBOSITY.values()
    ]


def _set_verbosity(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
    """Store it for the command, and log accordingly; an option before the command's name stays in force."""
    chosen = ctx.ensure_object(dict)
    for name in _VERBOSITY:
        chosen.setdefault(name, False)
    chosen[str(parameter.name)] |= given
    log_to_stderr(**chosen)
