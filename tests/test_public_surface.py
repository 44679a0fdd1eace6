"""What users rely on and no change of the inside may move: names, entry points, keys, options and exit codes.

`data/public_surface.json` lists them. After a change that is meant: `python tests/test_public_surface.py`.
"""

import importlib
import importlib.util
import json
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

import otel_kfs
from otel_kfs import cli, semconv

RECORDED = Path(__file__).parent / "data" / "public_surface.json"


def constants():
    """Every span name and attribute key, by the name of its constant."""
    found = {}
    for name, value in vars(semconv).items():
        if name.isupper() and isinstance(value, str):
            found[name] = value
        elif name.isupper() and isinstance(value, tuple):
            found[name] = list(value)
    return found | {
        f"{function.__name__}('t')": function("t") for function in (semconv.send, semconv.poll, semconv.process)
    }


def parameter(one):
    """What of an option or argument a command line or a script can depend on."""
    kind = one.type
    return {
        "names": sorted([*one.opts, *one.secondary_opts]),
        "required": one.required,
        "multiple": one.multiple,
        "flag": bool(getattr(one, "is_flag", False)),
        "choices": list(kind.choices) if isinstance(kind, click.Choice) else None,
    }


def commands():
    found = {"": sorted((parameter(one) for one in cli.main.params), key=lambda one: one["names"])}
    for name, command in sorted(cli.main.commands.items()):
        found[name] = sorted((parameter(one) for one in command.params), key=lambda one: one["names"])
    return found


def scripts_and_entry_points():
    """The console script and the instrumentors that `opentelemetry-instrument` finds."""
    groups = ("console_scripts", "opentelemetry_instrumentor")
    return {group: sorted(one.name for one in entry_points(group=group) if is_ours(one)) for group in groups}


def is_ours(entry):
    return entry.module.partition(".")[0] == "otel_kfs"


def exit_codes():
    # A command's module has its command's name, which hides it in the package.
    modules = ("commands.check", "commands.compare", "exit_codes")
    check, compare, exit_codes = (importlib.import_module(f"otel_kfs.cli.{name}") for name in modules)
    return {
        "stopped by Ctrl-C": exit_codes.SIGINT_EXIT,
        "stopped by SIGTERM": exit_codes.SIGTERM_EXIT,
        "nobody reads": exit_codes.SIGPIPE_EXIT,
        "check: wrong columns": check.WRONG_EXIT,
        "check: unreadable": check.UNREADABLE_EXIT,
        "compare: slower": compare.SLOWER_EXIT,
    }


def surface():
    return {
        "names": otel_kfs.__all__,
        "constants": constants(),
        "commands": commands(),
        "entry points": scripts_and_entry_points(),
        "exit codes": exit_codes(),
    }


@pytest.mark.parametrize("part", ["names", "constants", "commands", "entry points", "exit codes"])
def test_what_users_rely_on_stays_as_it_was_recorded(part):
    assert surface()[part] == json.loads(RECORDED.read_text())[part]


@pytest.mark.parametrize("entry", list(filter(is_ours, entry_points(group="opentelemetry_instrumentor"))), ids=str)
def test_an_instrumentor_is_where_its_entry_point_says(entry):
    assert importlib.util.find_spec(entry.module) is not None


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(surface(), indent=1, sort_keys=True) + "\n")
