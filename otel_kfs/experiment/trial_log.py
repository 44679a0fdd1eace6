"""What an experiment has done so far: a line of JSON for each turn, in its folder, so that it can be taken up again."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from otel_kfs.errors import ConfigError
from otel_kfs.experiment.config import ExperimentConfig
from otel_kfs.experiment.schedule import Trial

# No ending that a folder's traces have, so that the folder itself is a trace query.
NAME = "journal.ndjson"
TRACES = "traces"


@dataclass(frozen=True)
class TrialResult:
    """What came of one turn: its images are those that were due in the `seconds` from `start` (ns since the epoch)."""

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

    @property
    def key(self) -> tuple[int, str, str, str]:
        """That of its turn."""
        return self.block, self.transport, self.cell, self.image

    @property
    def end(self) -> int:
        """The last moment at which one of its images was due."""
        return self.start + round(self.seconds * 1e9)


def done(turn: Trial, sent: int, **more: Any) -> TrialResult:
    """What came of a turn."""
    return TrialResult(*turn.key, sent=sent, **more)


class TrialLog:
    """The journal of a folder, and the id of the run that is kept there. A context manager: inside, lines are added."""

    def __init__(self, folder: Path, plan: ExperimentConfig) -> None:
        """Take up the run in `folder`, or begin one there.

        Raises:
            ConfigError: another experiment lies there, or something else; or it can't be written.
        """
        self.path = folder / NAME
        self.folder = folder
        self.turns: list[TrialResult] = []
        try:
            if self.path.exists():
                self.run_id = self._take_up(plan)
            else:
                self.run_id = uuid.uuid4().hex
                self._begin({**_identity(plan, self.run_id), "run_id": self.run_id, "seed": plan.seed})
        except OSError as error:
            raise ConfigError(f"can't use the folder {folder}: {error.strerror}") from error
        self._file: IO[str] | None = None

    @property
    def failed(self) -> int:
        """Images that failed so far."""
        return sum(turn.failed for turn in self.turns)

    def failures(self) -> Counter[tuple[str, str, str]]:
        """How many failed or were never begun, by transport, cell and image."""
        found: Counter[tuple[str, str, str]] = Counter()
        for turn in self.turns:
            found[turn.key[1:]] += turn.failed + turn.unsent
        return +found

    def left(self, turns: list[Trial]) -> list[Trial]:
        """Those that were not done yet."""
        keys = {turn.key for turn in self.turns}
        return [turn for turn in turns if turn.key not in keys]

    def add(self, turn: TrialResult) -> None:
        """Note one, at once: what comes after may be Ctrl-C or a cut of the power."""
        assert self._file is not None  # noqa: S101 - inside the `with`
        self._file.write(json.dumps(asdict(turn)) + "\n")
        self._file.flush()
        self.turns.append(turn)

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
            self._file.close()

    def _begin(self, head: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if any(self.folder.iterdir()):
            raise ConfigError(f"{self.folder} is not empty, and no experiment's: choose a new folder")
        (self.folder / TRACES).mkdir()
        self.path.write_text(json.dumps(head) + "\n", encoding="utf-8")

    def _take_up(self, plan: ExperimentConfig) -> str:
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        # A last line that was cut off was of a turn that is not done.
        whole = lines if text.endswith("\n") else lines[:-1]
        try:
            first, *rest = map(json.loads, whole)
            self.turns = [TrialResult(**line) for line in rest]
            run_id = str(first["run_id"])
            now = _identity(plan, run_id)
            known = {key: first[key] for key in now}
        except (ValueError, TypeError, KeyError) as error:
            raise ConfigError(f"{self.path} is no journal of an experiment: choose a new folder") from error
        if known != now:
            raise ConfigError(
                f"{plan.file} or its images changed since the run in {self.folder} began: "
                "undo that, or choose a new folder"
            )
        if len(whole) < len(lines):
            self.path.write_text("".join(f"{line}\n" for line in whole), encoding="utf-8")
        return run_id


def _identity(plan: ExperimentConfig, run_id: str) -> dict[str, Any]:
    """What tells whether the file or its images were changed; not the file itself, which may hold passwords."""
    text = json.dumps(plan.document, default=str, sort_keys=True)
    return {
        "document_sha256": hashlib.sha256(f"{run_id} {text}".encode()).hexdigest(),
        "images": {image: _size(image) for image in plan.images},
    }


def _size(image: str) -> int | None:
    """A file's bytes; None for an embedded picture, which is always the same."""
    path = Path(image)
    return path.stat().st_size if path.is_file() else None
