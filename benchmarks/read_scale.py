"""How long `otel_kfs.analysis.pipeline.read` takes for many spans, beside orjson alone that parses the same bytes.

    python benchmarks/read_scale.py [--spans 1000000] [--rounds 5] [--folder FOLDER] [--form FORM] [--sketch]

Makes the traces (scaled_traces.py) unless FOLDER has them, and reads each form of them, or that of --form alone: a file
a process, one file of the Collector, a file a process of images that differ more, and of a tenth of the spans one
document of Jaeger's and Tempo's answers, a line each; with --sketch a second time
as `otel-kfs tables --sketch` does. In each round the programs run one after the other, in an order drawn anew,
each in a process of its own, with the files in the page cache. A figure is the median over the rounds, with the
quartiles in brackets; a ratio is the median of the rounds' own ratios. `CPU` adds up all
processes of a program; `memory` is the highest sum of their proportional set sizes (PSS) that was seen, looking ten
times a second.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from quartiles import quartiles
from scaled_traces import write

ORJSON = """
import sys, orjson
for path in sys.argv[1:]:
    with open(path, "rb") as lines:
        for line in lines:
            orjson.loads(line)
"""
OURS = """
import sys, time
from otel_kfs.analysis import pipeline
from otel_kfs.traces import query
if __name__ == "__main__":
    found = getattr(pipeline, sys.argv[3])(query.open_store(sys.argv[1]), processes=int(sys.argv[2]) or None)
    print(found.coverage.measured)
"""
FORMS = ("processes", "collector", "jittered", "jaeger", "tempo")


class Run(NamedTuple):
    """One program's run: seconds, seconds of CPU, MB."""

    wall: float
    cpu: float
    memory: float


def run(command: Sequence[str]) -> Run:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    highest = 0
    while True:
        try:
            code = process.wait(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            highest = max(highest, memory_of(process.pid))
    wall = time.perf_counter() - start
    if code:
        sys.exit(f"{command[0]} ended with {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(wall, cpu, highest / 1000)


def memory_of(pid: int) -> int:
    """PSS of a process and of those below it, kB."""
    total = 0
    try:
        with open(f"/proc/{pid}/smaps_rollup") as lines:
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            total += sum(memory_of(int(child)) for child in children.read().split())
    except (OSError, StopIteration):
        pass  # it has just ended
    return total


def spread(values: Sequence[float], digits: int = 1) -> str:
    low, middle, high = quartiles(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--processes", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--form", choices=FORMS, action="append")
    parser.add_argument("--sketch", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if not (folder / FORMS[-1]).exists():
            write(folder, options.spans)
        programs = [Path(temporary) / name for name in ("orjson_alone.py", "read.py")]
        for program, text in zip(programs, (ORJSON, OURS), strict=True):
            program.write_text(text)
        print(f"Python {platform.python_version()}, {len(os.sched_getaffinity(0))} cores, {options.rounds} rounds")
        print("\n| | s | CPU, s | memory, MB | time / orjson's |\n|:--|--:|--:|--:|--:|")
        for form in options.form or FORMS:
            files = sorted((folder / form).iterdir())
            commands = {
                "orjson": [str(programs[0]), *map(str, files)],
                "read": [str(programs[1]), str(folder / form), str(options.processes), "read"],
            }
            if options.sketch:
                commands["read_sketches"] = [*commands["read"][:-1], "read_sketches"]
            runs: dict[str, list[Run]] = {name: [] for name in commands}
            for _ in range(options.rounds):
                for name in random.sample(sorted(commands), len(commands)):
                    runs[name].append(run(commands[name]))
            size = sum(file.stat().st_size for file in files)
            for name, of_name in runs.items():
                walls, cpus, memories = zip(*of_name, strict=True)
                where = f"{form} ({len(files)} files, {size / 1e6:.0f} MB): {name}"
                ratio = spread([one.wall / two.wall for one, two in zip(of_name, runs["orjson"], strict=True)], 2)
                cells = (where, spread(walls), spread(cpus), spread(memories, 0), "" if name == "orjson" else ratio)
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
