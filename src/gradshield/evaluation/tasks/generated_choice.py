"""Choice by generation: what the model writes is read as one of the choices, or as none."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gradshield.evaluation.tasks.base import TaskItem
from gradshield.evaluation.tasks.choices import ChoiceSet
from gradshield.evaluation.tasks.generated import GeneratedTask, Scored


def leading_label(answer: str, choices: Sequence[str]) -> str:
    """The choice that the answer begins with, whatever its case; empty if there is none.

    Marks before it ("**Sports**") do not count, and a longer word that begins alike does not
    match.
    """
    alternatives = "|".join(re.escape(choice) for choice in sorted(choices, key=len, reverse=True))
    found = re.match(rf"\W*({alternatives})(?!\w)", answer, re.IGNORECASE)
    by_lower = {choice.lower(): choice for choice in choices}
    return by_lower[found.group(1).lower()] if found else ""


def standalone_letter(answer: str, choices: Sequence[str]) -> str:
    """The first of the letters that stands alone, as in "B", "(B)" or "It is B."; empty if none.

    Small letters count only where they are the whole answer, or "a" would be met in every
    sentence.
    """
    if re.fullmatch(r"\W*[a-z]\W*", answer):
        answer = answer.upper()
    found = re.search(rf"(?<![\w'])(?:{'|'.join(choices)})(?![\w'])", answer)
    return found.group() if found else ""


def generated_choice(
    name: str,
    source: ChoiceSet,
    read_choice: Callable[[str, Sequence[str]], str],
    max_new_tokens: int,
) -> GeneratedTask:
    """Accuracy of generated answers to a choice set; an answer that names no choice is wrong.

    Args:
        name: The task's name in the registry.
        source: Where the items come from.
        read_choice: From an answer and the choices to the choice it names, or to an empty text.
        max_new_tokens: Tokens generated at most.
    """

    def score(item: TaskItem, answer: str) -> Scored:
        chosen = read_choice(answer, item.choices)
        return Scored(float(chosen == item.target), chosen)

    return GeneratedTask(name, "accuracy", source.items, score, max_new_tokens)
