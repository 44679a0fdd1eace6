"""Where a run's traces lie unless one is told otherwise: `otel-kfs-runs/<time>`; `latest` leads to the last."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path

RUNS = Path("otel-kfs-runs")


def new_run_folder() -> Path:
    """Make the folder of a new run in the current one, with an empty folder `traces` in it.

    Raises:
        OSError: it can't be made.
    """
    RUNS.mkdir(exist_ok=True)
    time = f"{datetime.now():%Y-%m-%d-%H%M%S}"
    for name in itertools.chain([time], (f"{time}-{number}" for number in itertools.count(2))):
        folder = RUNS / name
        try:
            folder.mkdir()
            break
        except FileExistsError:  # another run of this second
            continue
    (folder / "traces").mkdir()
    latest = RUNS / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(name)
    return folder
