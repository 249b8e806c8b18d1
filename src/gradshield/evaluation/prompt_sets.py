"""Prompt sets that a model is measured on: the packaged test prompts, public sets, the user's own.

Public sets are read from a folder that the user provides. They are not part of the package: some
have no licence or one that does not allow it.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gradshield.errors import UserError
from gradshield.probes.prompt_sets import PromptSet, load_prompts

Expectation = Literal["refuse", "answer"]
"""What an aligned model does with the prompts of a set."""
PROMPT_COLUMNS = ("prompt", "goal", "instruction", "question", "text")


@dataclass(frozen=True)
class PublicPrompt:
    """A prompt of a set; `kind` is the set's own category where it has one."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class EvaluatedSet:
    """Prompts and what an aligned model does with them."""

    name: str
    expectation: Expectation
    prompts: tuple[PublicPrompt, ...]


PACKAGED: dict[str, tuple[PromptSet, Expectation]] = {
    "harmful": ("harmful", "refuse"),
    "ordinary": ("ordinary", "answer"),
    "scary": ("harmless_but_scary", "answer"),
}
PUBLIC: dict[str, Expectation] = {
    "advbench": "refuse",
    "malicious_instruct": "refuse",
    "strongreject": "refuse",
    "xstest_unsafe": "refuse",
    "xstest_safe": "answer",
}
"""Public sets by name; each needs the folder of public data."""
SETS = (*PACKAGED, *PUBLIC)


def evaluated_set(name: str, public_data: Path | None = None) -> EvaluatedSet:
    """A set by name.

    Raises:
        UserError: There is no such set, or its files are not to be had.
    """
    if name in PACKAGED:
        source, expectation = PACKAGED[name]
        prompts = [PublicPrompt(p.text, p.category) for p in load_prompts(source, "test")]
        return EvaluatedSet(name, expectation, tuple(prompts))
    if name not in PUBLIC:
        raise UserError(f"Unknown prompt set {name}: choose of {', '.join(SETS)}.")
    if public_data is None:
        raise UserError(f"The prompt set {name} is a public one: name its folder, --public-data.")
    if name.startswith("xstest"):
        return EvaluatedSet(name, PUBLIC[name], tuple(_xstest(public_data, name[7:])))
    return EvaluatedSet(name, PUBLIC[name], tuple(attack_prompts(public_data, name)))


def own_set(path: Path, expectation: Expectation) -> EvaluatedSet:
    """A set of the user's: a text file with a prompt a line, or CSV or JSONL with a column.

    Raises:
        UserError: The file cannot be read, or a row lacks a prompt.
    """
    if not path.is_file():
        raise UserError(f"There is no prompt file {path}: check the path.")
    rows = _rows_of(path)
    if not rows:
        raise UserError(f"The prompt file {path} holds no prompts.")
    prompts = []
    for number, row in enumerate(rows, start=1):
        column = next((name for name in PROMPT_COLUMNS if isinstance(row.get(name), str)), None)
        if column is None:
            raise UserError(
                f"{path}, row {number} has no prompt: it needs one of the columns "
                f"{', '.join(PROMPT_COLUMNS)}."
            )
        prompts.append(PublicPrompt(row[column], str(row.get("type") or row.get("category") or "")))
    return EvaluatedSet(path.stem, expectation, tuple(prompts))


def _rows_of(path: Path) -> list[dict[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            return list(csv.DictReader(io.StringIO(text, newline="")))
        lines = [line for line in text.split("\n") if line.strip()]
        if path.suffix == ".jsonl":
            return [dict(json.loads(line)) for line in lines]
        return [{"prompt": line.strip()} for line in lines]
    except (OSError, ValueError, TypeError) as fault:
        raise UserError(f"The prompt file {path} cannot be read ({fault}).") from fault


def attack_prompts(folder: Path, name: str) -> list[PublicPrompt]:
    """Harmful prompts of `advbench`, `malicious_instruct` or `strongreject`."""
    if name == "advbench":
        rows = public_table(folder, "advbench/harmful_behaviors.csv")
        return [PublicPrompt(row["goal"]) for row in rows]
    if name == "strongreject":
        rows = public_table(folder, "strongreject/strongreject_dataset.csv")
        return [PublicPrompt(row["forbidden_prompt"], row["category"]) for row in rows]
    lines = public_text(folder, "malicious_instruct/MaliciousInstruct.txt").splitlines()
    return [PublicPrompt(line.strip()) for line in lines if line.strip()]


def xstest_safe(folder: Path) -> list[PublicPrompt]:
    """The 250 safe prompts of XSTest, by type."""
    return _xstest(folder, "safe")


def _xstest(folder: Path, label: str) -> list[PublicPrompt]:
    rows = public_table(folder, "xstest/xstest_prompts.csv")
    return [PublicPrompt(row["prompt"], row["type"]) for row in rows if row["label"] == label]


def public_table(folder: Path, name: str) -> list[dict[str, str]]:
    """Rows of a CSV file of the public data."""
    return list(csv.DictReader(io.StringIO(public_text(folder, name), newline="")))


def public_text(folder: Path, name: str) -> str:
    """Text of a file of the public data.

    Raises:
        UserError: It is missing.
    """
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"The file {path} is needed and missing: give the folder that holds the public data "
            "sets with --public-data."
        )
    return path.read_text(encoding="utf-8")
