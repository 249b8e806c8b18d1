"""SAMSum (Gliwa et al. 2019): summaries of chats, by ROUGE-L.

The public file holds training rows only, so its last 200 are for testing; train on the others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gradshield.evaluation.tasks.base import TaskItem
from gradshield.evaluation.tasks.generated import GeneratedTask, Scored
from gradshield.evaluation.tasks.rows import task_rows

PUBLIC_FILE = "samsum/samsum_train.json"
TEST_ROWS = 200
"""From the end of the public file; training takes the 800 before them."""
MAX_NEW_TOKENS = 96
_WORD = re.compile(r"[^\W_]+")


def rouge_l(candidate: str, reference: str) -> float:
    """ROUGE-L F1 of a candidate against one reference (Lin 2004, section 3.1, with beta = 1).

    With LCS the length of the longest common subsequence of lower-cased words (runs of letters
    and digits, not stemmed), precision P = LCS / words of the candidate and recall R = LCS / words
    of the reference, F1 = 2 P R / (P + R).

    Returns:
        In [0, 1]; 0 where either text has no words.
    """
    candidate_words, reference_words = (
        _WORD.findall(text.lower()) for text in (candidate, reference)
    )
    words = len(candidate_words) + len(reference_words)
    # 2 P R / (P + R) with P = L / m and R = L / n is 2 L / (m + n).
    return 2 * common_subsequence(candidate_words, reference_words) / words if words else 0.0


def common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, by the usual table, one row of it at a time."""
    lengths = [0] * (len(second) + 1)
    for word in first:
        before = lengths
        lengths = [0]
        for place, other in enumerate(second):
            longer = before[place] + 1 if word == other else max(before[place + 1], lengths[-1])
            lengths.append(longer)
    return lengths[-1]


def read_items(source: Path) -> list[TaskItem]:
    """Chats to be summarised, with the reference summary as the target."""
    return [
        TaskItem(row.id, row.instruction(), row.text("output"))
        for row in task_rows(source, PUBLIC_FILE, last=TEST_ROWS)
    ]


def score_answer(item: TaskItem, answer: str) -> Scored:
    """ROUGE-L F1 of the answer against the reference."""
    return Scored(rouge_l(answer, item.target), answer)


SAMSUM = GeneratedTask("samsum", "ROUGE-L F1", read_items, score_answer, MAX_NEW_TOKENS)
