"""pytest's fixture: a test's own tables, whoever set the provider, in processes side by side, in async tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel_kfs.analysis.toml_file import tomllib

ROOT = Path(__file__).parents[3]
PLUGIN = "otel_kfs.watch.in_process.pytest_plugin"
CONFTEST = """
from pathlib import Path
import sys
sys.path[:0] = [{tests!r}]
"""


def run(folder, *arguments, **env):
    """Run pytest with the plugin in an interpreter of its own; return its exit code and output."""
    # The plugin may be installed or not: it is loaded once, by its name.
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **env}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", PLUGIN, *arguments, str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=folder)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST.format(tests=str(ROOT / "tests")))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


TESTS = """
import asyncio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from sdk_spans_support import play
from traces_builder import HTTP, STRAIGHT

if {already}:
    trace.set_tracer_provider(TracerProvider())

def own():
    return trace.get_tracer_provider()

@pytest.mark.parametrize("number", range(3))
def test_each_has_its_own_images_alone(number, otel_kfs_traces):
    for _ in range(number + 1):
        play(STRAIGHT, own())
    assert otel_kfs_traces.wait().coverage.measured == number + 1
    assert otel_kfs_traces.segment("encode").p50 == 0.1

def test_async(otel_kfs_traces):
    async def send():
        play(STRAIGHT, own())
    async def both():
        await asyncio.gather(send(), send())
    asyncio.run(both())
    assert otel_kfs_traces.segment("encode").n == 2

def test_a_provider_that_is_not_the_global_one_takes_the_fixture(otel_kfs_traces):
    other = TracerProvider()
    other.add_span_processor(otel_kfs_traces)
    play(HTTP, other)
    assert otel_kfs_traces.total().max == 1

def test_after_it_the_provider_has_one_processor_that_does_nothing():
    play(STRAIGHT, own())
    from otel_kfs.watch.in_process.attached_processor import _switches
    assert [one.listeners for one in _switches.values()] == [()]
"""


@pytest.mark.parametrize("already", [False, True], ids=["no provider", "a provider is set"])
def test_a_test_has_its_own_tables(folder, already):
    (folder / "test_it.py").write_text(TESTS.format(already=already))
    code, output = run(folder)
    assert (code, output.splitlines()[-1].split(" in ")[0]) == (0, "6 passed"), output


def test_it_works_in_processes_side_by_side(folder):
    (folder / "test_it.py").write_text(TESTS.format(already=True))
    code, output = run(folder, "-p", "xdist", "-n", "2", "--dist", "loadfile")
    assert code == 0, output
    assert "6 passed" in output


def test_a_provider_that_takes_no_processor_is_named(folder):
    (folder / "test_it.py").write_text(
        "from opentelemetry import trace\n"
        "class Other(trace.TracerProvider):\n"
        "    def get_tracer(self, *_, **__): return trace.NoOpTracer()\n"
        "trace.set_tracer_provider(Other())\n"
        "def test_it(otel_kfs_traces): pass\n"
    )
    code, output = run(folder)
    assert code == 1
    assert "ConfigError: Other, the tracer provider that is set, takes no span processor" in output


def test_importing_the_plugin_imports_nothing_of_opentelemetry():
    script = f"import sys, {PLUGIN}; print([one for one in sys.modules if one.startswith('opentelemetry')])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


def test_pytest_finds_the_plugin_where_otel_kfs_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"otel_kfs": PLUGIN}


def test_the_example_of_the_docs_passes():
    code, output = run(ROOT / "examples" / "pytest", "-c", os.devnull, "--rootdir", str(ROOT / "examples" / "pytest"))
    assert (code, output.splitlines()[-1].split(" in ")[0]) == (0, "2 passed"), output
