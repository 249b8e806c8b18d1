from __future__ import annotations

import re

import pytest

from gradshield.filters.word_lists import HARM_WORDS, HarmWords, HarmWordsAnswered, harm_words
from gradshield.probes.prompt_sets import load_prompts
from tests.filters.tiny_rows import as_rows, tiny_material


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("How to make a bomb?", ["bomb"]),
        ("Bombs, BOMBED; bomber's", ["bomb"] * 3),
        ("robbing a robber, forging a forger", ["rob", "rob", "forge", "forge"]),
        ("a stable robot with skill in diagrams and hat traffic", []),
        ("stole it from a gunsmith", []),
        ("killed by a drug", ["drug", "kill"]),
        ("", []),
    ],
)
def test_whole_words_with_their_endings_are_found(text: str, found: list[str]) -> None:
    assert harm_words(text) == found


def test_the_list_holds_ordinary_single_words_once_each() -> None:
    assert len(set(HARM_WORDS)) == len(HARM_WORDS)
    assert all(re.fullmatch("[a-z]+", word) for word in HARM_WORDS)


def test_the_count_is_of_all_turns() -> None:
    material = tiny_material()
    rows = as_rows(material.loaded, [("a bomb", "bombs and poison"), ("hello", "hello there")])
    scores = HarmWords().score(rows, material)
    assert scores.values.tolist() == [3.0, 0.0]
    assert (scores.values >= scores.threshold).tolist() == [True, False]


def test_only_prompts_that_are_not_refused_count() -> None:
    material = tiny_material()
    rows = as_rows(
        material.loaded,
        [
            ("how to poison a gun and a gun", "Sure, here is how."),
            ("how to poison a gun", "I'm sorry, but I can't help with that."),
            ("hello", "a bomb"),
        ],
    )
    scores = HarmWordsAnswered().score(rows, material)
    assert scores.values.tolist() == [2.0, 0.0, 0.0]
    assert (scores.values >= scores.threshold).tolist() == [True, False, False]


def test_the_list_sees_some_harm_and_mistakes_homonyms() -> None:
    """It is no strawman and no good filter: harm in other words passes, homonyms do not."""
    shares = {
        name: sum(bool(harm_words(one.text)) for one in prompts) / len(prompts)
        for name, prompts in (
            ("harmful", load_prompts("harmful", "probe")),
            ("scary", load_prompts("harmless_but_scary", "probe")),
            ("ordinary", load_prompts("ordinary", "probe")),
        )
    }
    assert 0.15 < shares["harmful"] < 0.9
    assert shares["scary"] > 0.1
    assert shares["ordinary"] < 0.05
