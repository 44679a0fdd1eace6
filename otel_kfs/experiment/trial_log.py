"""What an experiment has done so far: a line of JSON for each trial, in its folder, so that it can be resumed."""

from __future__ import annotations

import hashlib
import json
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from otel_kfs.analysis.measurement import Series
from otel_kfs.errors import ConfigError, OtelKfsError
from otel_kfs.experiment.config.experiment_config import ExperimentConfig
from otel_kfs.experiment.schedule import Trial

# No ending that a folder's traces have, so that the folder itself is a trace query.
NAME = "journal.ndjson"
TRACES = "traces"


@dataclass(frozen=True)
class TrialResult:
    """What came of one trial: its images are those that were due in the `seconds` from `start` (ns since the epoch)."""

    block: int
    transport: str
    cell: str
    image: str
    sent: int
    start: int
    seconds: float
    failed: int = 0
    unsent: int = 0  # due, but never begun
    failure: str = ""  # the last one
    last_due: int | None = None  # when an open loop's last image was due, ns since the epoch, sent or not

    @property
    def key(self) -> tuple[int, str, str, str]:
        """The trial's key."""
        return self.block, self.transport, self.cell, self.image

    @property
    def end(self) -> int:
        """The last moment at which one of its images was due."""
        return self.start + round(self.seconds * 1e9)


class TrialLog:
    """The log in a run's folder, and the run's id. A context manager: within it, results are added."""

    def __init__(self, folder: Path, config: ExperimentConfig) -> None:
        """Resume the run in `folder`, or begin one there.

        Raises:
            ConfigError: another experiment lies there, or something else; or it can't be written.
        """
        self.path = folder / NAME
        self.folder = folder
        self.results: list[TrialResult] = []
        try:
            if self.path.exists():
                self.run_id = self._resume(config)
            else:
                self.run_id = uuid.uuid4().hex
                self._begin({**_identity(config, self.run_id), "run_id": self.run_id, "seed": config.seed})
        except OSError as error:
            raise ConfigError(f"can't use the folder {folder}: {error.strerror}") from error
        self._file: IO[str] | None = None

    @property
    def failed(self) -> int:
        """Images that failed so far."""
        return sum(result.failed for result in self.results)

    def failures(self) -> Counter[tuple[str, str, str]]:
        """Count the images that failed or were never begun, by transport, cell and image."""
        failures: Counter[tuple[str, str, str]] = Counter()
        for result in self.results:
            failures[result.key[1:]] += result.failed + result.unsent
        return +failures

    def remaining(self, trials: Iterable[Trial]) -> list[Trial]:
        """Return the trials that have no result yet."""
        keys = {result.key for result in self.results}
        return [trial for trial in trials if trial.key not in keys]

    def add(self, result: TrialResult) -> None:
        """Write a result at once: what comes next may be Ctrl-C or a power cut.

        Raises:
            OtelKfsError: it can't be written.
        """
        assert self._file is not None  # noqa: S101 - inside the `with`
        try:
            self._file.write(json.dumps(asdict(result)) + "\n")
            self._file.flush()
        except OSError as error:
            raise OtelKfsError(f"can't write {self.path}: {error.strerror}") from error
        self.results.append(result)

    def __enter__(self) -> TrialLog:
        try:
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"can't write {self.path}: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be written before can't be now, and that was told
                self._file.close()

    def _begin(self, head: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise ConfigError(f"{self.folder} is not empty, and not an experiment's folder: choose a new one")
        (self.folder / TRACES).mkdir()
        self.path.write_text(json.dumps(head) + "\n", encoding="utf-8")

    def _resume(self, config: ExperimentConfig) -> str:
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        # A last line that was cut off is of a trial that has to be done again.
        whole = lines if text.endswith("\n") else lines[:-1]
        try:
            first, *rest = map(json.loads, whole)
            self.results = [TrialResult(**line) for line in rest]
            run_id = str(first["run_id"])
            now = _identity(config, run_id)
            known = {key: first[key] for key in now}
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{self.path} is not an experiment's journal: choose a new folder") from error
        if known != now:
            raise ConfigError(
                f"{config.file} or its images changed since the run in {self.folder} began: "
                "undo that, or choose a new folder"
            )
        if len(whole) < len(lines):
            self.path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
        return run_id


def within_trials(measured: Iterable[Series], results: Sequence[TrialResult]) -> list[Series]:
    """Keep the images that were due in one of the trials, and leave out series that have none.

    Ctrl-C cuts a trial off, which is then done again as a whole; what it had sent is in the traces, too. One trial
    follows another, by the sender's clock, which is that of stamp 1.
    """
    ordered = sorted(results, key=lambda result: result.start)
    starts = [result.start for result in ordered]

    def counts(due: int) -> bool:
        before = bisect_right(starts, due)
        return before > 0 and due <= ordered[before - 1].end

    kept = (series.only([number for number, due in enumerate(series.stamps[0]) if counts(due)]) for series in measured)
    return [series for series in kept if len(series)]


def _identity(config: ExperimentConfig, run_id: str) -> dict[str, Any]:
    """Return what tells whether the file or its images were changed, without the file's text: it may hold passwords."""
    text = json.dumps(config.document, default=str, sort_keys=True)
    return {
        "document_sha256": hashlib.sha256(f"{run_id} {text}".encode()).hexdigest(),
        "images": {image: _size(image) for image in config.images},
    }


def _size(image: str) -> int | None:
    """Return a file's bytes; None for an embedded picture, which is always the same."""
    path = Path(image)
    return path.stat().st_size if path.is_file() else None
