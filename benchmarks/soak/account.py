"""What became of every image of a soak run, put together by identity: the senders' lines, the bridges', the topics."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Place = tuple[int, int]  # partition and offset in the bridged topic


@dataclass
class Account:
    """Counts of images, and of records by their places."""

    outcomes: dict[str, Counter[str]]  # by transport: answered or delivered, failed
    errors: Counter[str]  # what the callers were told
    records: Counter[str]  # what became of the records that a sender was told are delivered
    told_twice: int  # records that more than one line of the bridges is about
    unmarked: list[Place]  # of these: no line says that it may be a repeat
    marked: int  # records whose deliveries were marked as possible repeats, told twice or not
    unknown: int  # records in the topic that no sender was told are delivered
    written_twice: int  # images that lie in the topic twice
    lost: list[Place]  # records that nothing became of
    wrong: list[str]  # answers of another picture, poison that was answered, pictures that were refused
    problems: list[str] = field(default_factory=list)  # what else a run found

    @property
    def good(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.unmarked or self.written_twice or self.wrong or self.problems)


def reconcile(
    sent: Mapping[str, Iterable[Mapping[str, Any]]],
    told: Iterable[Mapping[str, Any]],
    topic: Mapping[Place, str],
    parked: Iterable[Place],
    classes: Mapping[str, int],
) -> Account:
    """Put it together.

    `sent` has the senders' lines by transport, `told` the bridges' lines, `topic` the trace of every record by its
    place, `parked` the first places of the dead letters, `classes` what the model says of each picture.
    """
    lines: dict[Place, list[Mapping[str, Any]]] = defaultdict(list)
    for line in told:
        lines[line["partition"], line["offset"]].append(line)
    parked = set(parked)
    outcomes = {transport: Counter(line["outcome"] for line in of) for transport, of in sent.items()}
    everything = [line for of in sent.values() for line in of]
    delivered = {tuple(line["place"]): line for line in everything if "place" in line}
    records: Counter[str] = Counter()
    lost, wrong = [], []
    for place in {*delivered, *topic}:
        if place in delivered:
            became = _became(lines[place], place in parked)
            records[became or "lost"] += 1
        if not lines[place] and place not in parked:
            lost.append(place)
    for place, line in delivered.items():
        wrong += [f"{place}: {why}" for answer in lines[place] if (why := _mistake(line, answer, classes))]
    for line in everything:
        if line["outcome"] == "answered" and (line["poison"] or line["class"] != classes[line["picture"]]):
            wrong.append(f"over HTTP: {line}")
    twice = [place for place, of in lines.items() if len(of) > 1]
    return Account(
        outcomes=outcomes,
        errors=Counter(_kind(line["error"]) for line in everything if line["outcome"] == "failed"),
        records=records,
        told_twice=len(twice),
        unmarked=sorted(place for place in twice if all(line["attempt"] == 1 for line in lines[place])),
        marked=sum(any(line["attempt"] > 1 for line in of) for of in lines.values()),
        unknown=len(topic.keys() - delivered.keys()),
        written_twice=len(topic) - len(set(topic.values())),
        lost=sorted(lost),
        wrong=wrong,
    )


def _became(lines: list[Mapping[str, Any]], parked: bool) -> str | None:
    """Return the best outcome that the bridges reported for a record."""
    said = {line["outcome"] for line in lines}
    for outcome in ("answered", "dead-lettered", "refused", "skipped"):
        if outcome in said:
            return outcome
    return "dead-lettered" if parked else None


def _mistake(sent: Mapping[str, Any], line: Mapping[str, Any], classes: Mapping[str, int]) -> str | None:
    if line["outcome"] == "answered":
        if sent["poison"]:
            return "half a picture was answered"
        found = line["answer"]["predictions"][0]["class"]
        return None if found == classes[sent["picture"]] else f"{sent['picture']} was answered with class {found}"
    if not sent["poison"] and "broken JPG" in (line["refused"] or ""):
        return f"a whole picture was refused: {line['refused']}"
    return None


def _kind(error: str) -> str:
    """Return an error's line without what differs from one to the next."""
    return "".join("N" if letter.isdigit() else letter for letter in error)[:110].replace("NN", "N").replace("NN", "N")
