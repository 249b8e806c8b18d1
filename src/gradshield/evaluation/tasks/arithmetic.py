"""Arithmetic in words, one step each: a generation task that a small model can learn.

GSM8K is beyond models of some hundred million parameters, before training and after. These
problems are made, not read: no file is needed, and training and test problems never share numbers
and wording.
"""

from __future__ import annotations

import operator
import random
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

from gradshield.evaluation.tasks.base import TaskItem
from gradshield.evaluation.tasks.generated import GeneratedTask
from gradshield.evaluation.tasks.gsm8k import read_items, score_answer

TEST_PROBLEMS = 1000
MAX_NEW_TOKENS = 24
_SEED = 0
_OPERATIONS = {"+": operator.add, "-": operator.sub, "x": operator.mul}
_WORDINGS = (
    (
        "+",
        "{who} has {a} {things} and gets {b} more. How many {things} does {who} have now?",
        "{who} has {a} + {b} = {result} {things} now.",
    ),
    (
        "+",
        "One shelf holds {a} {things}, another {b}. How many {things} are on the two?",
        "Together they hold {a} + {b} = {result} {things}.",
    ),
    (
        "+",
        "{who} finds {a} {things} in the morning and {b} at night. How many {things} is that?",
        "That is {a} + {b} = {result} {things}.",
    ),
    (
        "-",
        "{who} has {a} {things} and gives away {b}. How many {things} are left?",
        "There are {a} - {b} = {result} {things} left.",
    ),
    (
        "-",
        "Of {a} {things} in a shop, {b} are sold. How many {things} remain?",
        "The shop has {a} - {b} = {result} {things} left.",
    ),
    (
        "x",
        "{who} buys {a} bags with {b} {things} in each. How many {things} does {who} buy?",
        "{who} buys {a} x {b} = {result} {things}.",
    ),
)
_PEOPLE = ("Ana", "Ben", "Chidi", "Dora", "Emil", "Farah", "Goro", "Hana")
_THINGS = ("apples", "books", "coins", "eggs", "pens", "shells", "stamps")
_NUMBERS = range(2, 31)
_LARGEST_FACTOR = 9


@dataclass(frozen=True)
class Problem:
    """A question and its worked answer ("That is 3 + 4 = 7 pens."); `result` is the number."""

    question: str
    answer: str
    result: int


def training_problems(count: int) -> list[Problem]:
    """The first problems that are not for testing.

    Raises:
        ValueError: There are not so many.
    """
    problems = _problems()[TEST_PROBLEMS:]
    if count > len(problems):
        raise ValueError(f"There are {len(problems)} training problems, not {count}.")
    return problems[:count]


@cache
def _problems() -> list[Problem]:
    """Every wording with every pair of numbers that it allows, in a mixed but fixed order."""
    generator = random.Random(_SEED)
    problems = [
        _problem(wording, a, b, generator)
        for wording, a, b in product(_WORDINGS, _NUMBERS, _NUMBERS)
        if _allowed(wording[0], a, b)
    ]
    generator.shuffle(problems)
    return problems


def _allowed(sign: str, a: int, b: int) -> bool:
    """No result below 1, and small factors."""
    return {"+": True, "-": a > b, "x": max(a, b) <= _LARGEST_FACTOR}[sign]


def _problem(wording: tuple[str, str, str], a: int, b: int, generator: random.Random) -> Problem:
    sign, question, answer = wording
    result = _OPERATIONS[sign](a, b)
    words = {"who": generator.choice(_PEOPLE), "things": generator.choice(_THINGS)}
    words |= {"a": str(a), "b": str(b), "result": str(result)}
    return Problem(question.format(**words), answer.format(**words), result)


def _items(source: Path) -> list[TaskItem]:
    """The test problems; a file of the user's, in the form of GSM8K's, takes their place."""
    if source.is_file():
        return read_items(source)
    return [
        TaskItem(str(place), problem.question, str(problem.result))
        for place, problem in enumerate(_problems()[:TEST_PROBLEMS])
    ]


ARITHMETIC = GeneratedTask("arithmetic", "exact match", _items, score_answer, MAX_NEW_TOKENS)
