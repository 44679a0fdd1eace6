"""Shell completion: commands, options, choices, trace stores, the folders of runs and files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from otel_kfs import cli


def completions(*arguments):
    """What the last argument, the beginning of a word, may become; `<file>` where it is any file's name."""
    found = ShellComplete(cli.main, {}, "otel-kfs", "_OTEL_KFS_COMPLETE").get_completions(
        list(arguments[:-1]), arguments[-1]
    )
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in found]


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Folders of two runs."""
    monkeypatch.chdir(tmp_path)
    for name in ("2026-01-31-120000", "2026-02-01-080000"):
        (tmp_path / "otel-kfs-runs" / name / "traces").mkdir(parents=True)
    (tmp_path / "otel-kfs-runs" / "latest").symlink_to("2026-02-01-080000")
    return ["otel-kfs-runs/latest/traces", "otel-kfs-runs/2026-02-01-080000/traces",
            "otel-kfs-runs/2026-01-31-120000/traces"]  # fmt: skip


def test_commands():
    assert completions("") == sorted(cli.main.commands)
    assert completions("ta") == ["tables"]


def test_options_and_never_their_old_names():
    assert completions("send", "--h") == ["--host", "--help"]


def test_choices():
    assert completions("tables", "--layout", "se") == ["seed", "segments"]


STORES = ["clickhouse:http://", "jaeger:http://", "tempo:http://"]


@pytest.mark.parametrize("before", [["tables"], ["report", "--trace-query"], ["compare", "a/"], ["check", "FILE.md"]])
def test_trace_queries(runs, before):
    assert completions(*before, "") == [*STORES, *runs]
    assert completions(*before, "otel-kfs-runs/2026-02") == runs[1:2]
    assert completions(*before, "jae") == ["jaeger:http://"]
    assert completions(*before, "./tr") == ["<file>"]


def test_the_latest_runs_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(30):
        Path(f"otel-kfs-runs/2026-01-01-{number:06}/traces").mkdir(parents=True)
    found = completions("tables", "otel-kfs-runs/")
    assert (len(found), found[0]) == (20, "otel-kfs-runs/2026-01-01-000029/traces")


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("send", "--image", "c"), "<file>"),
        (("send", "--model-ca", "c"), "<file>"),
        (("bridge", "--consumer-config", "c"), "<file>"),
        (("tables", "-o", "c"), "<file>"),
        (("tables", "--stamps", "c"), "<file>"),
        (("experiment", "c"), "<file>"),
        (("experiment", "-o", "c"), "<dir>"),
    ],
)
def test_files_and_folders(arguments, kind):
    assert completions(*arguments) == [kind]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_by_the_line_that_the_page_names(runs, tmp_path):
    program = tmp_path / "otel-kfs"
    program.write_text(f"#!{sys.executable}\nfrom otel_kfs.cli import main\nmain()\n")
    program.chmod(0o755)
    line = 'eval "$(_OTEL_KFS_COMPLETE=bash_source otel-kfs)"'
    assert line in (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    ask = 'COMP_WORDS=(otel-kfs tables tem); COMP_CWORD=2; _otel_kfs_completion otel-kfs; echo "${COMPREPLY[@]}"'
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f"{line}\n{ask}"], env=os.environ | path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("tempo:http://\n", 0), done.stderr
