"""Who may use which harmful prompt of the public sets.

AdvBench is divided by its order: the first 100 prompts test, the next 50 validate, the last 50 are
anchors, harmful prompts that filters may look at; the rest are for attacks. MaliciousInstruct and
StrongREJECT belong to tests alone. AdvBench says many things twice, and shares prompts with both,
so near-duplicates of what is kept for another use are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradshield.benchmark.public_data import advbench_openers
from gradshield.data import Conversation, Message
from gradshield.evaluation.prompt_sets import attack_prompts
from gradshield.probes.wordings import REFUSALS

TEST = slice(0, 100)
VALIDATION = slice(100, 150)
ATTACK = slice(150, 470)
ANCHOR = slice(470, 520)
"""Places in AdvBench, from 0."""
TEST_SETS = ("malicious_instruct", "strongreject")
"""Public sets that are for tests as a whole."""
NEAR_DUPLICATE = 0.6
"""Jaccard similarity of two prompts' words from which on they ask for the same."""


@dataclass(frozen=True)
class Anchors:
    """Harmful prompts that filters may use, once with each kind of answer.

    Attributes:
        answered: With AdvBench's affirmative, empty opener.
        refused: The same prompts in the same order, refused in many wordings.
    """

    answered: tuple[Conversation, ...]
    refused: tuple[Conversation, ...]


def advbench_prompts(folder: Path, part: slice) -> list[str]:
    """Prompts of a part of AdvBench, in its order, all of them."""
    return [prompt.text for prompt in attack_prompts(folder, "advbench")[part]]


def attack_openers(folder: Path) -> list[Conversation]:
    """Prompts that attacks may use, each with AdvBench's affirmative, empty opener."""
    taken = [*_tested(folder), *advbench_prompts(folder, ANCHOR)]
    return _unlike(advbench_openers(folder)[ATTACK], taken)


def anchors(folder: Path) -> Anchors:
    """What filters that need harmful rows get."""
    answered = _unlike(advbench_openers(folder)[ANCHOR], _tested(folder))
    wordings = REFUSALS["probe"]
    refused = [
        Conversation((one.messages[0], Message("assistant", wordings[place % len(wordings)])))
        for place, one in enumerate(answered)
    ]
    return Anchors(tuple(answered), tuple(refused))


def _tested(folder: Path) -> list[str]:
    """Prompts that tests or validation use."""
    others = [prompt.text for name in TEST_SETS for prompt in attack_prompts(folder, name)]
    return [*advbench_prompts(folder, TEST), *advbench_prompts(folder, VALIDATION), *others]


def _unlike(openers: Sequence[Conversation], taken: Sequence[str]) -> list[Conversation]:
    """Those that ask for nothing that one of the taken prompts asks for."""
    theirs = [_words(text) for text in taken]
    return [
        one
        for one in openers
        if all(
            similarity(_words(one.messages[0].content), other) < NEAR_DUPLICATE for other in theirs
        )
    ]


def similarity(some: frozenset[str], others: frozenset[str]) -> float:
    """Jaccard similarity of two sets of words, in [0, 1]; 0 for two empty ones."""
    return len(some & others) / max(1, len(some | others))


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W_]+", text.lower()))
