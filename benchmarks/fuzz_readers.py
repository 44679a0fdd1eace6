"""Feed hostile trace files and answers to the readers and the tables for some time: fuzz_readers.py --minutes 10.

An input may give tables, or one line that says what is wrong with it; anything else is a failure, and is kept with its
seed. The inputs are those of tests/traces/test_hostile.py, which tries a few in every run of the tests.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "traces"))

import hostile_support as hostile

SECONDS = 20  # that one input may take


def main() -> int:
    options = _options()
    end = time.monotonic() + 60 * options.minutes
    found: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    seed = options.seed
    signal.signal(signal.SIGALRM, _too_slow)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="otel-kfs-fuzz-") as folder:
        while time.monotonic() < end:
            try:
                signal.alarm(SECONDS)
                outcomes[hostile.try_one(random.Random(seed), Path(folder))] += 1
            except Exception as error:  # noqa: BLE001 - each is a find
                last = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
                if not found[place]:
                    print(f"seed {seed}: {place}: {str(error)[:300]}", file=sys.stderr)
                    if options.verbose:
                        traceback.print_exc()
                found[place] += 1
            finally:
                signal.alarm(0)
            seed += 1
    tried, took = seed - options.seed, time.monotonic() - started
    print(f"{tried} inputs in {took:.0f} s, seeds {options.seed} to {seed - 1}: {dict(outcomes)}")
    print(f"failures: {sum(found.values())}, of {len(found)} kinds")
    return 1 if found else 0


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0, help="the first one; each input has the next")
    parser.add_argument("--verbose", action="store_true", help="print each find's traceback")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
