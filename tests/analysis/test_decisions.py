"""What searches found, by the answers to their questions: for other moments that is what a search would find."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_kfs.analysis.decisions import Decisions, noting

OPERATORS = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]
MOMENTS = st.lists(st.integers(0, 5), min_size=4, max_size=4)


def search(moments):
    """What is asked depends on what was answered, and ties are something else again."""
    one, two, three, four = moments
    if one < two:
        return "in order", [moments.index(moment) for moment in sorted(moments)] if three >= four else max(one, three)
    if one == two:
        return "at once", min(three, four) <= one, three != one
    return "the other way round", four > three


def numbers(found):
    return [
        [*map(int, one)] if isinstance(one, list) else one if isinstance(one, str | bool) else int(one) for one in found
    ]


def searched(moments):
    """What a search finds, with the numbers of moments, and the answers that it got."""
    numbered, answers = noting(moments)
    return numbers(search(numbered)), answers


@given(MOMENTS)
def test_moments_are_compared_by_when_they_were(moments):
    numbered, _ = noting(moments)
    for compare in OPERATORS:
        found = [compare(one, other) for one in numbered for other in numbered]
        assert found == [compare(one, other) for one in moments for other in moments]


def test_moments_know_no_answer_that_nobody_asked_for():
    numbered, answers = noting([7, 3, 5])
    assert min(numbered) == numbered[1]
    assert (numbered[0] < 2**63, numbered[0] > 2**63) == (True, False)
    assert answers == {(1, 0): True, (2, 1): False, (1, 1): False}


def test_a_moment_in_a_set_would_be_a_question_that_nobody_notes():
    numbered, _ = noting([7, 3])
    with pytest.raises(TypeError):
        set(numbered)


@given(st.lists(MOMENTS, max_size=20), MOMENTS)
def test_what_is_known_is_what_a_search_finds(before, moments):
    decisions = Decisions()
    for each in before:
        found, answers = searched(each)
        decisions.learn(answers, found)
        assert decisions.find(each) == found
    assert decisions.find(moments) in (None, searched(moments)[0])


def test_a_search_that_asks_nothing_finds_the_same_for_all():
    decisions = Decisions()
    assert decisions.find([1, 2]) is None
    decisions.learn({}, "found")
    assert decisions.find([2, 1]) == "found"
