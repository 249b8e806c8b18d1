"""Harmful prompts have one use each."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from gradshield.benchmark.attacks.splits import (
    ANCHOR,
    ATTACK,
    TEST,
    VALIDATION,
    advbench_prompts,
    anchors,
    attack_openers,
    similarity,
)
from gradshield.benchmark.studies import search
from gradshield.evaluation.refusal import is_refusal
from tests.benchmark.attacks.public_folder import (
    ADVBENCH_PROMPTS,
    ANCHOR_LIKE_A_TEST_PROMPT,
    LIKE_A_TEST_PROMPT,
    LIKE_AN_ANCHOR,
    REPEATED_IN_STRONGREJECT,
    goal,
)


def test_the_parts_of_advbench_are_all_of_it_and_share_nothing(public: Path) -> None:
    parts = [advbench_prompts(public, part) for part in (TEST, VALIDATION, ATTACK, ANCHOR)]
    assert [len(part) for part in parts] == [100, 50, 320, 50]
    assert [prompt for part in parts for prompt in part] == [
        goal(place) for place in range(ADVBENCH_PROMPTS)
    ]
    assert all(not set(one) & set(other) for one, other in combinations(parts, 2))


def test_tests_and_validation_are_those_of_the_search_study() -> None:
    tests, validation = search.TEST_PROMPTS["advbench"], search.VALIDATION_PROMPTS["advbench"]
    assert slice(0, tests) == TEST
    assert slice(tests, tests + validation) == VALIDATION


def test_attacks_get_their_part_without_what_others_ask_for(public: Path) -> None:
    left_out = {LIKE_A_TEST_PROMPT, LIKE_AN_ANCHOR, REPEATED_IN_STRONGREJECT}
    found = [one.messages[0].content for one in attack_openers(public)]
    assert found == [goal(place) for place in range(150, 470) if place not in left_out]


def test_anchors_are_answered_and_refused_prompt_by_prompt(public: Path) -> None:
    found = anchors(public)
    places = [place for place in range(470, 520) if place != ANCHOR_LIKE_A_TEST_PROMPT]
    for rows in (found.answered, found.refused):
        assert [one.messages[0].content for one in rows] == [goal(place) for place in places]
    answers = [one.messages[1].content for one in found.answered]
    assert answers == [f"Sure, here is how to break thing{place}" for place in places]
    refusals = {one.messages[1].content for one in found.refused}
    assert len(refusals) > 20
    assert not any(map(is_refusal, answers))


def test_similarity_is_that_of_jaccard() -> None:
    one, other = frozenset({"a", "b", "c"}), frozenset({"b", "c", "d"})
    assert similarity(one, other) == pytest.approx(2 / 4)
    assert similarity(one, one) == 1
    assert similarity(frozenset(), frozenset()) == 0
