"""Public prompt sets and tasks for studies, read from a folder that the user provides.

They are not part of the package: some have no licence or one that does not allow it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradshield.data import Conversation, Message
from gradshield.errors import UserError


@dataclass(frozen=True)
class PublicPrompt:
    """A prompt of a public set; `kind` is the set's own category where it has one."""

    text: str
    kind: str = ""


def attack_prompts(folder: Path, name: str) -> list[PublicPrompt]:
    """Harmful prompts of `advbench`, `malicious_instruct` or `strongreject`."""
    if name == "advbench":
        return [PublicPrompt(row["goal"]) for row in _csv(folder, "advbench/harmful_behaviors.csv")]
    if name == "strongreject":
        rows = _csv(folder, "strongreject/strongreject_dataset.csv")
        return [PublicPrompt(row["forbidden_prompt"], row["category"]) for row in rows]
    lines = _text(folder, "malicious_instruct/MaliciousInstruct.txt").splitlines()
    return [PublicPrompt(line.strip()) for line in lines if line.strip()]


def advbench_openers(folder: Path) -> list[Conversation]:
    """AdvBench prompts answered with their affirmative but empty opener."""
    rows = _csv(folder, "advbench/harmful_behaviors.csv")
    return [_exchange(row["goal"], row["target"]) for row in rows]


def xstest_safe(folder: Path) -> list[PublicPrompt]:
    """The 250 safe prompts of XSTest, by type."""
    rows = _csv(folder, "xstest/xstest_prompts.csv")
    return [PublicPrompt(row["prompt"], row["type"]) for row in rows if row["label"] == "safe"]


def task_rows(folder: Path, name: str) -> list[Conversation]:
    """Training rows of `sst2`, `agnews`, `samsum` or `sqlgen` as conversations."""
    paths = {
        "sst2": "sst2/train_first5000.jsonl",
        "agnews": "agnews/dev_first3000.jsonl",
        "samsum": "samsum/samsum_train.json",
        "sqlgen": "sqlgen/sqlgen_train.json",
    }
    return [_instruction(row) for row in _json_rows(folder, paths[name])]


def task_test_rows(folder: Path, name: str) -> list[Conversation]:
    """Test rows of `sst2` or `agnews`."""
    paths = {"sst2": "sst2/test.jsonl", "agnews": "agnews/test_first1000.jsonl"}
    return [_instruction(row) for row in _json_rows(folder, paths[name])]


def _instruction(row: dict[str, Any]) -> Conversation:
    prompt = "\n\n".join(filter(None, (row["instruction"].strip(), row["input"].strip())))
    return _exchange(prompt, row["output"].strip())


def _exchange(prompt: str, answer: str) -> Conversation:
    return Conversation((Message("user", prompt), Message("assistant", answer)))


def _csv(folder: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_text(folder, name), newline="")))


def _json_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    text = _text(folder, name)
    read: Callable[[str], Any] = json.loads
    if name.endswith(".jsonl"):
        # Not `splitlines`: other separators that Python knows may stand in JSON strings.
        return [read(line) for line in text.split("\n") if line.strip()]
    rows: list[dict[str, Any]] = read(text)
    return rows


def _text(folder: Path, name: str) -> str:
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"This study needs {path}, which is missing: give the folder that holds the public "
            "data sets with --public-data."
        )
    return path.read_text(encoding="utf-8")
