from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import get_args

import pytest

from gradshield.evaluation.refusal import is_refusal
from gradshield.probes.prompt_sets import Prompt, PromptSet, Split, load_prompts, spread

SETS: tuple[PromptSet, ...] = get_args(PromptSet)
SPLITS: tuple[Split, ...] = get_args(Split)
NEAR_DUPLICATE = 0.6
# Words that say nothing of what is asked for: function words, and those of the request's frame.
EMPTY_WORDS = """
a about an and are as at be been being but by can could did do does for from had has have he
her here his how i if in into is it its may me might must my no not of on onto or our over she
should so some somebody someone something than that the their them then there these they this
those to under us was we were what when where which who whom whose why will with without
would you your any

advice best create describe detailed develop draft explain give good guide help ideas
instructions list make need outline plan please short show step steps teach tell tips
tutorial walk want way ways write
"""


def content_words(text: str) -> frozenset[str]:
    words = re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())
    return frozenset(words) - frozenset(EMPTY_WORDS.split())


def near_duplicates(prompts: Sequence[Prompt], limit: float) -> Iterator[tuple[str, str, float]]:
    """Pairs of different splits whose content words have a Jaccard similarity of `limit` or more.

    Two such sets share one of the rarest (1 - limit) n + 1 words of either, so only those are
    looked up.
    """
    words = [content_words(prompt.text) for prompt in prompts]
    frequency = Counter(word for group in words for word in group)
    seen: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(words):
        rarest = sorted(group, key=lambda word: (frequency[word], word))
        prefix = rarest[: len(group) - math.ceil(limit * len(group)) + 1]
        for other in {place for word in prefix for place in seen[word]}:
            similarity = len(group & words[other]) / len(group | words[other])
            if similarity >= limit and prompts[index].split != prompts[other].split:
                yield prompts[index].id, prompts[other].id, similarity
        for word in prefix:
            seen[word].append(index)


@pytest.mark.parametrize(
    ("name", "prompts", "categories"),
    [("harmful", 1200, 12), ("ordinary", 1200, 10), ("harmless_but_scary", 200, 10)],
)
def test_a_set_is_large_and_varied(name: PromptSet, prompts: int, categories: int) -> None:
    loaded = load_prompts(name)
    assert len(loaded) >= prompts
    assert len({prompt.category for prompt in loaded}) >= categories


@pytest.mark.parametrize("name", SETS)
def test_ids_and_texts_are_unique(name: PromptSet) -> None:
    loaded = load_prompts(name)
    assert len({prompt.id for prompt in loaded}) == len(loaded)
    assert len({prompt.text.casefold() for prompt in loaded}) == len(loaded)
    assert all(prompt.text == prompt.text.strip() != "" for prompt in loaded)


@pytest.mark.parametrize("name", SETS)
def test_every_split_has_every_category_and_align_has_most(name: PromptSet) -> None:
    loaded = load_prompts(name)
    categories = {prompt.category for prompt in loaded}
    sizes = {}
    for split in SPLITS:
        part = load_prompts(name, split)
        assert {prompt.category for prompt in part} == categories
        sizes[split] = len(part)
    assert sum(sizes.values()) == len(loaded)
    assert sizes["align"] > len(loaded) / 2


@pytest.mark.parametrize("name", SETS)
def test_no_near_duplicate_crosses_splits(name: PromptSet) -> None:
    assert list(near_duplicates(load_prompts(name), NEAR_DUPLICATE)) == []


def test_the_search_for_near_duplicates_finds_one() -> None:
    # Content words {old, stone, bridge} and {old, stone, bridge, river}: 3 of 4.
    one = Prompt("1", "c", "align", "Describe the old stone bridge.")
    other = Prompt("2", "c", "probe", "Is there an old stone bridge over that river?")
    assert list(near_duplicates([one, other], 0.6)) == [("2", "1", 0.75)]
    assert list(near_duplicates([one, other], 0.8)) == []


def test_harmful_prompts_come_without_answers() -> None:
    assert all(prompt.answer is None for prompt in load_prompts("harmful"))
    # A request, not a text that carries what is asked for.
    assert max(len(prompt.text) for prompt in load_prompts("harmful")) < 250
    assert not any("\n" in prompt.text for prompt in load_prompts("harmful"))


def test_scary_prompts_come_with_answers_that_help() -> None:
    answers = [prompt.answer or "" for prompt in load_prompts("harmless_but_scary")]
    assert all(len(answer) > 20 for answer in answers)
    assert [answer for answer in answers if is_refusal(answer)] == []


def numbered(count: int) -> list[Prompt]:
    return [Prompt(str(number), "c", "align", "text") for number in range(count)]


@pytest.mark.parametrize(
    ("size", "count", "chosen"),
    [(10, 5, "0 2 4 6 8"), (7, 3, "0 2 4"), (5, 1, "0"), (3, 3, "0 1 2"), (3, 8, "0 1 2")],
)
def test_spread_takes_prompts_at_even_distances(size: int, count: int, chosen: str) -> None:
    assert " ".join(prompt.id for prompt in spread(numbered(size), count)) == chosen


def test_spread_meets_every_category_of_a_sorted_list() -> None:
    prompts = load_prompts("harmful", "probe")
    chosen = spread(prompts, 57)
    assert {prompt.category for prompt in chosen} == {prompt.category for prompt in prompts}
