"""Harmless exchanges of the public data that attacks build on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gradshield.benchmark.public_data import (
    alpaca_rows,
    exchange,
    instruction_exchange,
    json_rows,
    seed_task,
)
from gradshield.data import Conversation
from gradshield.evaluation.refusal import is_refusal

ALPACA_SEEDS = "alpaca/seed_tasks.jsonl"
ALPACA_LONG = "alpaca/alpaca_700.json"
DOLLY = "dolly/databricks-dolly-15k-safety-only.jsonl"
SHORT_PROMPT, SHORT_ANSWER = 400, 400
"""Characters of exchanges that attacks wrap in their words."""


def alpaca_exchanges(folder: Path) -> list[Conversation]:
    """Seed tasks, long answers and rows with words of safety; none that is refused."""
    return answered(
        [
            *(seed_task(row, "") for row in json_rows(folder, ALPACA_SEEDS)),
            *stored_exchanges(folder, ALPACA_LONG),
            *alpaca_rows(folder),
        ]
    )


def short_exchanges(folder: Path) -> list[Conversation]:
    """Those of `alpaca_exchanges` that are short enough to be wrapped in an attack's words."""
    return no_longer(alpaca_exchanges(folder), SHORT_PROMPT, SHORT_ANSWER)


def dolly_exchanges(folder: Path) -> list[Conversation]:
    """Rows of Dolly with words of safety; none that is refused."""
    return answered(stored_exchanges(folder, DOLLY))


def stored_exchanges(folder: Path, name: str) -> list[Conversation]:
    """All rows of a file in the columns of Alpaca, Dolly or GSM8K."""
    return [_of_columns(row) for row in json_rows(folder, name)]


def answered(conversations: Iterable[Conversation]) -> list[Conversation]:
    """Exchanges with an answer that is no refusal; of those with the same prompt the first."""
    first: dict[str, Conversation] = {}
    for one in conversations:
        prompt, answer = (message.content for message in one.messages)
        if answer.strip() and not is_refusal(answer):
            first.setdefault(prompt, one)
    return list(first.values())


def no_longer(
    conversations: Iterable[Conversation], prompt: int, answer: int
) -> list[Conversation]:
    """Exchanges with at most so many characters in prompt and answer."""
    return [
        one
        for one in conversations
        if len(one.messages[0].content) <= prompt and len(one.messages[1].content) <= answer
    ]


def _of_columns(row: dict[str, Any]) -> Conversation:
    if "question" in row:
        return exchange(row["question"], row["answer"])
    context = row.get("input", row.get("context", ""))
    output = row.get("output", row.get("response", ""))
    return instruction_exchange(
        {"instruction": row["instruction"], "input": context, "output": output}
    )
