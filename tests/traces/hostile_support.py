"""One hostile input, read and made into tables as a user would: what the tests and benchmarks/fuzz_readers.py try."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import mutations
from click.testing import CliRunner

from otel_kfs import cli
from otel_kfs.traces.stores.store_client import Answer, StoreClient

SKETCHES = find_spec("ddsketch") is not None
FORMATS = ("text", "md", "csv", "json")
DOCUMENTS = mutations.documents()
KEYS = sorted({key for documents in DOCUMENTS.values() for key in mutations.keys(documents)})


def try_one(random: Random, folder: Path) -> str:
    """Make an input, read it and print its tables; "tables" or "refused".

    Raises:
        AssertionError: what was printed is neither tables nor one line.
    """
    if random.random() < 0.7:
        kind = random.choice(sorted(DOCUMENTS))
        whole = random.sample(DOCUMENTS[kind], random.randint(1, min(8, len(DOCUMENTS[kind]))))
        if kind in {"files", "zipkin"} and random.random() < 0.5:
            whole = DOCUMENTS[kind]  # with all its spans, an image reaches the tables
        chosen = [mutations.changed(one, random) if random.random() < 0.5 else one for one in whole]
        file = folder / "hostile.jsonl"
        file.write_bytes(mutations.written(chosen, random))
        return tables(str(file), random)
    with answers(random):
        return tables(random.choice(["jaeger:http://127.0.0.1:1", "tempo:http://127.0.0.1:1"]), random)


@contextmanager
def answers(random: Random) -> Any:
    """A store that answers with recorded bodies, changed; nothing is sent."""

    def get(self: StoreClient, path: str, *_: Any) -> Answer:
        kind = "tempo" if "/search" in path or "/v2/" in path else "jaeger-v3" if "/v3/" in path else "jaeger-older"
        choice = [body for body in DOCUMENTS[kind] if ("traces" in body) == ("/search" in path)] or DOCUMENTS[kind]
        body = random.choice(choice)
        if random.random() < 0.7:
            body = mutations.changed(body, random)
        content = mutations.written([body], random) if random.random() < 0.1 else mutations.text(body)
        if random.random() < 0.2:
            content = mutations.damaged(content, random)
        status = random.choice([404, 500, 401]) if random.random() < 0.05 else 200
        content_type = "application/protobuf" if random.random() < 0.2 else "application/json"
        return Answer(status, content_type, content)

    with mock.patch.object(StoreClient, "_get", get):
        yield


def tables(query: str, random: Random) -> str:
    """What `otel-kfs tables` makes of a query."""
    format_ = random.choice(FORMATS)
    layout = random.choice(("seed", "segments"))
    command = ["-q", "tables", "--trace-query", query, "--format", format_, "--layout", layout]
    if layout == "segments" and SKETCHES and random.random() < 0.5:
        command.append("--sketch")
    result = CliRunner().invoke(cli.main, command)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    shown = result.stdout + result.stderr
    assert all(character.isprintable() or character == "\n" for character in shown), "control characters"
    if result.exit_code == 0:
        return "tables"
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1), shown[:500]
    return "refused"
