"""The packaged prompts: harmful, ordinary, and harmless ones that sound harmful.

All are our own words; harmful ones are requests only. Each has an id, a category and a split:
`align` trains the built-in model, `probe` measures the safety proxy, `validation` guides the
threshold search and `test` is left for final measurements. No near-duplicate crosses splits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, TypeVar

PromptSet = Literal["harmful", "ordinary", "harmless_but_scary"]
Split = Literal["align", "probe", "validation", "test"]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Prompt:
    """One user prompt; `answer` is the packaged helpful answer, where the set has one."""

    id: str
    category: str
    split: Split
    text: str
    answer: str | None = None


def load_prompts(name: PromptSet, split: Split | None = None) -> list[Prompt]:
    """Read a packaged prompt set, in file order, all splits or one."""
    source = files("gradshield.probes") / "prompts" / f"{name}.jsonl"
    rows = (json.loads(line) for line in source.read_text(encoding="utf-8").splitlines())
    return [
        Prompt(row["id"], row["category"], row["split"], row["prompt"], row.get("answer"))
        for row in rows
        if split is None or row["split"] == split
    ]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Take `count` items spread evenly over the sequence, so that every category is met."""
    if count >= len(items):
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]
