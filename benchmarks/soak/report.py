"""The soak run's results as Markdown, and whether they are good."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from .account import Account
from .children import Child
from .run import BACKLOG_SECONDS

SETTLED_SECONDS = 90.0  # of a process's life under load, before its memory counts
WINDOW_SECONDS = 30.0  # what a memory is the median of
SHORTEST_SECONDS = 200.0  # of a life under load, for its memory to be judged
MOST_GROWTH = 0.05
LONGEST_SILENCE_SECONDS = 60.0  # of the bridges; a broker's outage and the group's session after it are within

_NOT_EXPORTED = re.compile(r"(\d+) of (\d+) spans were not exported to http")


def report(soak: Any, account: Account, highest: float | None, *, interrupted: bool) -> tuple[str, bool]:
    """Return the text, and whether every promise was kept."""
    took = soak.end - soak.begin
    parts = [
        f"{took / 60:.1f} minutes at {soak.rate:.1f} images/s"
        + (f" (the ramp held {highest:g})" if highest else "")
        + f", Python {platform.python_version()}, {os.cpu_count()} cores, load average "
        + (f"{statistics.median(soak.load):.1f}" if soak.load else "unknown")
        + f"; the bridges' longest silence: {soak.silence:.0f} s"
        + (". Interrupted: what is open is not lost." if interrupted else "."),
        *_images(account, interrupted),
    ]
    problems = list(account.problems)
    if soak.silence > LONGEST_SILENCE_SECONDS:
        problems.append(f"for {soak.silence:.0f} s no bridge dealt with a record")
    if not interrupted:
        parts += _spans(soak, problems)
        parts += _tables(soak, account, problems)
    parts += _memory(soak, problems)
    if soak.log:
        parts.append(_table(("time", "what"), [(f"{int(at // 60)}:{int(at % 60):02}", what) for at, what in soak.log]))
    account.problems = problems
    found = [
        *(f"lost: partition {partition}, offset {offset}" for partition, offset in account.lost if not interrupted),
        *(f"a repeat that nothing marks: partition {place[0]}, offset {place[1]}" for place in account.unmarked),
        *account.wrong,
        *problems,
    ]
    if account.written_twice:
        found.append(f"{account.written_twice} records lie in the topic twice")
    parts.append("\n".join(f"- {line}" for line in found[:20]) if found else "Nothing was lost, and nothing was wrong.")
    return "\n\n".join(parts) + "\n", not found


def _images(account: Account, interrupted: bool) -> list[str]:
    rows = []
    for transport, of in account.outcomes.items():
        fine = "answered" if transport == "HTTP" else "delivered"
        rows.append((transport, sum(of.values()), of[fine], of["failed"]))
    records = account.records
    counts = [
        ("delivered, as the senders were told", records.total()),
        ("answered", records["answered"]),
        ("dead-lettered", records["dead-lettered"]),
        ("skipped by policy", records["refused"] + records["skipped"]),
        ("open" if interrupted else "lost", records["lost"]),
        ("told twice by the bridges", account.told_twice),
        ("of these, marked by `attempt`", account.told_twice - len(account.unmarked)),
        ("marked as possible repeats in all", account.marked),
        ("in the topic, though no sender was told so", account.unknown),
        ("in the topic twice", account.written_twice),
    ]
    parts = [
        _table(("images", "sent", "answered or delivered", "reported failed to the caller"), rows),
        _table(("records", ""), counts),
    ]
    if account.errors:
        parts.append(_table(("what callers were told", "times"), account.errors.most_common()))
    return parts


def _spans(soak: Any, problems: list[str]) -> list[str]:
    """Spans by process: in its file, at the collector, and what it said at its end that was not exported."""
    in_files = _span_ids(soak.traces)
    rows: list[tuple[Any, ...]] = []
    for child in soak.children.all:
        own = in_files.get(child.pid)
        if own is None:
            continue
        missing = len(own - soak.exported.get(child.pid, set()))
        said = [int(number) for number, _ in _NOT_EXPORTED.findall(child.errors.read_text(errors="replace"))]
        told = str(sum(said)) if child.ended_by != "kill -9" else "killed"
        rows.append((child.name, len(own), len(own) - missing, missing, told))
        if told != "killed" and missing != sum(said):
            problems.append(f"{child.name}: {missing} spans did not reach the collector, and it said {told}")
    rows.append(("all", *(sum(row[column] for row in rows) for column in (1, 2, 3)), ""))
    head = ("spans of", "ended", "at the collector (exported)", "not there (dropped)", "as it said at its end")
    return [
        _table(head, rows),
        "A process that was killed takes the spans of its last seconds with it; they are in no column.",
    ]


def _span_ids(folder: Path) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for path in folder.glob("*.jsonl"):
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    continue  # a killed process's last
                for resource in orjson.loads(line)["resourceSpans"]:
                    values = {pair["key"]: pair["value"] for pair in resource["resource"]["attributes"]}
                    ids = found.setdefault(int(values["process.pid"]["intValue"]), set())
                    ids.update(span["spanId"] for scope in resource["scopeSpans"] for span in scope["spans"])
    return found


def _tables(soak: Any, account: Account, problems: list[str]) -> list[str]:
    """Return what our own read side makes of the files: every image is measured, or left out for a reason."""
    command = [sys.executable, "-m", "otel_kfs.cli", "tables", "--trace-query", str(soak.traces), "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        problems.append(f"otel-kfs tables: {result.stderr.strip()}")
        return []
    counts = json.loads(result.stdout)["account"]
    sent = sum(of.total() for of in account.outcomes.values())
    found = counts["measured"] + sum(counts["left_out"].values())
    if found != sent:
        problems.append(f"otel-kfs tables accounts for {found} images, and {sent} were sent")
    rows = [("sent", sent), ("measured", counts["measured"])]
    rows += [(f"left out: {why}", count) for why, count in counts["left_out"].items()]
    rows += [("retried", counts["retried"]), ("redelivered", counts["redelivered"])]
    return [_table(("images in `otel-kfs tables`", ""), rows)]


def _memory(soak: Any, problems: list[str]) -> list[str]:
    rows, short = [], []
    for child in soak.children.all:
        begin = max(soak.begin, child.started) + SETTLED_SECONDS
        last = max((at for at, *_ in child.samples), default=0.0)
        first, end = _around(child, begin), _around(child, last - WINDOW_SECONDS)
        # What a first outage leaves behind is seen by half-time; what goes on growing after it is a leak.
        half = _around(child, (begin + last - WINDOW_SECONDS) / 2)
        if first is None or half is None or end is None or last - begin < SHORTEST_SECONDS:
            short.append(child.name)
            continue
        growth = end[0] / first[0] - 1
        memory = [f"{megabytes:.0f}" for megabytes, _ in (first, half, end)]
        rows.append((child.name, *memory, f"{growth:+.1%}", f"{end[0] / half[0] - 1:+.1%}", first[1], end[1]))
        if growth > MOST_GROWTH:
            problems.append(f"{child.name} grew by {growth:.1%}")
    head = ("process", "MB after warm-up", "half-way", "at the end", "growth", "since half-way")
    parts = []
    if rows:
        parts.append(_table((*head, "open files after warm-up", "at the end"), rows))
        parts.append(
            f"Warm-up is the first {SETTLED_SECONDS:g} s under load. The bridges that begin the run had a backlog of "
            f"{BACKLOG_SECONDS:g} s before it: what one takes once is no growth. Nobody's later backlogs are left out."
        )
    if short:
        minutes = (SETTLED_SECONDS + SHORTEST_SECONDS) / 60
        parts.append(f"Lived for less than {minutes:.0f} minutes, too short to judge their memory: {', '.join(short)}.")
    return parts


def _around(child: Child, begin: float) -> tuple[float, int] | None:
    return child.between(begin, begin + WINDOW_SECONDS)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["--" if number == 0 or column == "what" else "--:" for number, column in enumerate(head)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
