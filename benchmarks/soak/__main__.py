"""A steady load while one part after another fails: what became of every image and span, and of the memory.

    python -m benchmarks.soak [--minutes 10] [-o soak.md]

Pictures go through the example's fast transformer and predictor (MobileNetV2 on KFServing), over HTTP and through a
real Kafka with two bridges, at 70 % of the highest rate that a short ramp at the start finds this machine to hold.
The bridges have a backlog once before it begins, so that only what later ones add to their memory counts as growth.
Every process exports its spans both to a file and to a small collector. The exit code is 1 if a record was lost, a
process grew by more than 5 %, or another promise of docs/reliability.md was not kept. Needs Java 17 and Maven, for
Kafka; two cores will do.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy" / "services"))

import services

from otel_kfs.cli.output import write

from .children import Children
from .report import report
from .run import Soak, say

INTERRUPTED = 130  # the exit code
SHARE = 0.7  # of the highest rate that was held


def main() -> int:
    args = _arguments()
    if importlib.util.find_spec("kfserving") is None:
        raise SystemExit("soak: KFServing is not installed here; it needs Python 3.11 or older")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("OTEL_") and name != "OTEL_KFS_CACHE"]:
        del os.environ[name]
    folder = Path(tempfile.mkdtemp(prefix="otel-kfs-soak-")) if args.keep is None else args.keep.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=args.keep is None)
    except OSError as error:
        raise SystemExit(f"soak: can't make the folder {folder}: {error.strerror}") from None
    say(f"starting; logs and traces are in {folder}")
    try:
        with services.kafka() as kafka, Children(folder) as children:
            try:
                text, code = _run(Soak(args.minutes, folder, kafka, children), args.rate)
            finally:
                shutil.copy(kafka.server.log, folder / "kafka.log")
    except services.ServiceError as error:
        raise SystemExit(f"soak: {error}") from None
    except KeyboardInterrupt:
        return INTERRUPTED
    print(text)
    if args.output:
        write(text, args.output)
    if args.keep is None and code != 1:
        shutil.rmtree(folder)
    else:
        say(f"kept: {folder}")
    return code


def _run(soak: Soak, rate: float | None) -> tuple[str, int]:
    """Return the report and the exit code."""
    highest, interrupted = None, False
    try:
        soak.set_up()
        if rate is None:
            highest = soak.ramp()
            rate = SHARE * highest
        # Only now, so that the queues of spans have been full once before anybody's memory counts.
        soak.start("collector")
        soak.backlog(rate)
        say(f"{rate:.1f} images/s for {soak.seconds / 60:g} minutes")
        soak.set_rate(rate)
        soak.under_load()
        soak.stop()
    except KeyboardInterrupt:
        say("interrupted: what is known so far")
        interrupted, soak.end = True, time.monotonic()
        soak.listen()
    text, good = report(soak, soak.account(interrupted=interrupted), highest, interrupted=interrupted)
    return text, INTERRUPTED if interrupted else int(not good)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=positive, default=10.0, help="of load with faults, after the ramp")
    parser.add_argument("--rate", type=positive, help="images a second; left out, 70 %% of what the ramp finds")
    parser.add_argument("-o", "--output", type=Path, help="write the results there, as Markdown, besides printing them")
    parser.add_argument(
        "--keep", type=Path, help="a new folder for logs and traces; left out, they are deleted unless something failed"
    )
    return parser.parse_args()


def positive(text: str) -> float:
    """Parse a number above 0; argparse names this function in its error."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
