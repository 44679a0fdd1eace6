"""Every snippet of Python on the pages: each compiles, what it imports is there, and those that can be are run."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, TOP, blocks
from support import LIMIT, PHOTO, HttpServer

SNIPPETS = {
    f"{page.stem}-{number}": code
    for page in PAGES
    for number, code in enumerate(code for language, code in blocks(page.read_text()) if language == "python")
}

# What each prints; none of them fails.
RUN = {
    "clients-0": "{'predictions': [1]}\n",
    "trace-queries-0": "",
    "python-api-0": "{'warm-up': 1}\nhttp 1.1MB 1 410231810 exact\nkafka 1.1MB 1 411688999 exact\n",
    "python-api-4": "",
    "in-process-1": "",
}

# What is not run here, and why.
NOT_RUN = {
    "README-0": "tests/examples/test_readme.py runs it",
    "README-1": "tests/examples/test_readme.py runs it with a broker",
    "README-2": "tests/examples/test_readme.py runs it with a broker",
    "in-process-0": "needs a server of yours: tests/watch/in_process runs examples/pytest",
    "kafka-0": "shows several ways beside one another: tests/kafka has each",
    "kafka-1": "the instrumentor, tests/kafka/test_instrumentor.py",
    "kafka-2": "the loop's body is left out: tests/kafka/test_process_span.py",
    "kafka-3": "needs a client of yours: tests/kafka/test_existing_client.py",
    "python-api-1": "tests/reader/test_data_frames.py and the notebook make frames",
    "python-api-2": "a test that needs two runs: tests/reader/test_reading_comparison.py",
    "python-api-3": "needs two runs, too: tests/reader/test_reading_comparison.py",
    "reliability-0": "tests/faults fill a producer's queue",
}

EVERY = pytest.mark.parametrize("name", SNIPPETS)


@EVERY
def test_a_snippet_is_run_or_there_is_a_reason_why_not(name):
    assert (name in RUN) != (name in NOT_RUN)


def test_every_snippet_that_is_listed_is_there():
    assert [name for name in (*RUN, *NOT_RUN) if name not in SNIPPETS] == []


@EVERY
def test_the_names_of_a_snippet_are_there(name):
    tree = ast.parse(SNIPPETS[name])
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [importlib.import_module(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            found += [getattr(module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"otel_kfs(\.\w+)+", ast.unparse(node)):
            place = importlib.import_module("otel_kfs")
            for part in ast.unparse(node).split(".")[1:]:
                place = getattr(place, part)
            found.append(place)
    assert None not in found


@pytest.mark.parametrize("name", RUN)
def test_a_snippet_does_what_it_says(name, monkeypatch):
    shutil.copy(PHOTO, "cat.jpg")
    Path("otel-kfs-runs/latest").mkdir(parents=True)
    for file in (TOP / "tests/data/traces").glob("*.jsonl"):
        shutil.copy(file, "otel-kfs-runs/latest")
    monkeypatch.setenv("OTEL_KFS_TRACES_FILE", "spans.jsonl")
    with HttpServer().running() as server:
        code = SNIPPETS[name].replace("http://localhost:8080", server.url)
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=LIMIT, check=False
        )
    assert (result.returncode, result.stderr) == (0, "")
    assert RUN[name] in result.stdout
