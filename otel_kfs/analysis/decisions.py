"""A search of moments as a tree of decisions: what it found holds wherever its questions have the same answers.

The questions are which of two moments is the earlier one. What a search asks next depends on the answers so far and on
nothing else of the moments; so each search adds a branch to the tree, and other moments follow it down to what a search
would find for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

Found = TypeVar("Found")
# Whether the first of two moments, by their numbers, is earlier than the second, in the order of asking.
Answers = dict[tuple[int, int], bool]


class Moment(int):
    """The number of a moment, which is compared as the moment itself would be; it takes note of the answers."""

    _at: int
    _answers: Answers

    def __new__(cls, number: int, at: int, answers: Answers) -> Moment:
        """`at`: the moment, ns since the epoch."""
        moment = super().__new__(cls, number)
        moment._at, moment._answers = at, answers
        return moment

    def _is_before(self, other: Moment) -> bool:
        answer = self._at < other._at
        question = int(self), int(other)
        if question not in self._answers and not self._answers.get(question[::-1]):
            self._answers[question] = answer
        return answer

    # What is no moment is a bound on all of them, as 2**63 is: these are well within, and so are their numbers.

    def __lt__(self, other: int) -> bool:
        return self._is_before(other) if isinstance(other, Moment) else super().__lt__(other)

    def __gt__(self, other: int) -> bool:
        return other._is_before(self) if isinstance(other, Moment) else super().__gt__(other)

    def __le__(self, other: int) -> bool:
        return not other._is_before(self) if isinstance(other, Moment) else super().__le__(other)

    def __ge__(self, other: int) -> bool:
        return not self._is_before(other) if isinstance(other, Moment) else super().__ge__(other)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Moment):
            return not self._is_before(other) and not other._is_before(self)
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]  # a question that nobody would take note of


def noting(moments: Sequence[int]) -> tuple[list[Moment], Answers]:
    """Some moments for a search, and the answers that it gets."""
    answers: Answers = {}
    return [Moment(number, at, answers) for number, at in enumerate(moments)], answers


class _Question(NamedTuple):
    """Whether one moment is earlier than another, by their numbers, and what follows from either answer."""

    one: int
    other: int
    branches: dict[bool, Any]  # another question, or what was found


class Decisions(Generic[Found]):
    """What searches found that were the same but for their moments."""

    def __init__(self) -> None:
        self._root: dict[bool, Any] = {}  # the first question, as if it followed from True

    def find(self, moments: Sequence[int]) -> Found | None:
        """What a search would find for these; None: not known yet."""
        node = self._root.get(True)
        while node.__class__ is _Question:
            one, other, branches = node
            node = branches.get(moments[one] < moments[other])
        found: Found | None = node
        return found

    def learn(self, answers: Answers, found: Found) -> None:
        """Take note of what a search found that got these answers."""
        branches, last = self._root, True
        for (one, other), answer in answers.items():
            question = branches.setdefault(last, _Question(one, other, {}))
            branches, last = question.branches, answer
        branches[last] = found
