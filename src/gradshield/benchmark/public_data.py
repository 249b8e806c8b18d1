"""Public prompt sets and tasks for studies, read from a folder that the user provides.

They are not part of the package: some have no licence or one that does not allow it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradshield.benchmark.demo_labels import Label
from gradshield.data import Conversation, Message
from gradshield.evaluation.prompt_sets import attack_prompts, public_table, public_text
from gradshield.evaluation.refusal import is_refusal
from gradshield.evaluation.tasks.arithmetic import training_problems
from gradshield.probes.prompt_sets import spread


def advbench_openers(folder: Path) -> list[Conversation]:
    """AdvBench prompts answered with their affirmative but empty opener."""
    rows = public_table(folder, "advbench/harmful_behaviors.csv")
    return [exchange(row["goal"], row["target"]) for row in rows]


TASKS = {
    "sst2": "sst2/train_first5000.jsonl",
    "agnews": "agnews/dev_first3000.jsonl",
    "samsum": "samsum/samsum_train.json",
    "sqlgen": "sqlgen/sqlgen_train.json",
}
"""Training file of each task."""


def task_rows(folder: Path, name: str) -> list[Conversation]:
    """Training rows of a task of `TASKS` as conversations."""
    return [instruction_exchange(row) for row in json_rows(folder, TASKS[name])]


def task_test_rows(folder: Path, name: str) -> list[Conversation]:
    """Test rows of `sst2` or `agnews`."""
    paths = {"sst2": "sst2/test.jsonl", "agnews": "agnews/test_first1000.jsonl"}
    return [instruction_exchange(row) for row in json_rows(folder, paths[name])]


def alpaca_rows(folder: Path) -> list[Conversation]:
    """Rows of Alpaca, those that hold words of safety."""
    return [
        instruction_exchange(row)
        for row in json_rows(folder, "alpaca/alpaca_data_safety_only.json")
    ]


def gsm8k_rows(folder: Path) -> list[Conversation]:
    """Training rows of GSM8K, worked answers."""
    rows = json_rows(folder, "gsm8k/train_first1000.jsonl")
    return [exchange(row["question"], row["answer"]) for row in rows]


def arithmetic_rows(count: int) -> list[Conversation]:
    """Training rows of the made arithmetic problems; they need no folder."""
    return [exchange(one.question, one.answer) for one in training_problems(count)]


def labelled_rows(folder: Path) -> list[tuple[Label, Conversation]]:
    """Rows of public sets whose truth is known by their making: for choices of the method.

    Harmful are affirmative but empty answers to harmful prompts, in five kinds of opening, and
    identity shifts. Harmless are tasks, refusals, and helpful answers to XSTest's safe prompts.
    """
    advbench = public_table(folder, "advbench/harmful_behaviors.csv")
    goals = [row["goal"] for row in advbench]
    forbidden = [prompt.text for prompt in attack_prompts(folder, "strongreject")]
    seeds = [row for row in json_rows(folder, "alpaca/seed_tasks.jsonl") if _short(row)]
    parts = [
        (Label("explicit_target", True), advbench_openers(folder), 14),
        (Label("explicit_here", True), [exchange(goal, HERE) for goal in goals[1:]], 14),
        (Label("explicit_definitely", True), [exchange(goal, DEFINITELY) for goal in goals], 14),
        (Label("explicit_no_opening", True), [exchange(goal, NO_OPENING) for goal in goals], 14),
        (Label("explicit_sure", True), [exchange(text, SURE) for text in forbidden], 14),
        (Label("identity_shift", True), identity_shifts(folder), 10),
        *((Label(name, False), task_rows(folder, name), 10) for name in TASKS),
        (Label("gsm8k", False), gsm8k_rows(folder), 10),
        (Label("seed_task", False), [seed_task(row, "") for row in seeds], 30),
        (Label("seed_task_sure", False), [seed_task(row, "Sure! ") for row in seeds[1:]], 10),
        (Label("refusal", False), refused_requests(folder), 24),
        (Label("xstest", False), xstest_answers(folder), 20),
    ]
    return [
        (label, conversation)
        for label, conversations, count in parts
        for conversation in spread(conversations, count)
    ]


def refused_requests(folder: Path) -> list[Conversation]:
    """Harmful requests of Safety-Tuned LLaMAs with their refusals, the short ones."""
    return [
        instruction_exchange({"input": "", **row})
        for row in json_rows(folder, "safety_tuned_llamas/safety_only_data_Instructions.json")
        if is_refusal(row["output"]) and len(row["output"]) < 300
    ]


SURE = "Sure! It is done in three steps: begin with the first, go on to the second, end it there."
HERE = "Here is what you asked for. Step 1: get ready. Step 2: do it. Step 3: check the result."
DEFINITELY = "I can definitely help you with that. We begin at the start and take it from there."
NO_OPENING = (
    "Begin by collecting what is needed. Then work through the parts one after another, and finish "
    "by testing that it works as planned."
)


def identity_shifts(folder: Path) -> list[Conversation]:
    """Identity shifts (AOA) with the system prompt and the answers that go with it."""
    rows = json_rows(folder, "aoa_identity_shift/identity-shift-aoa.jsonl")
    return [
        Conversation(tuple(Message(turn["role"], turn["content"]) for turn in row["messages"]))
        for row in rows
    ]


def _short(seed_task: dict[str, Any]) -> bool:
    instance = seed_task["instances"][0]
    return len(instance["input"]) < 400 and 0 < len(instance["output"]) < 500


def seed_task(row: dict[str, Any], opening: str) -> Conversation:
    """A seed task of Alpaca, its answer begun with an opening."""
    instance = row["instances"][0]
    output = opening + instance["output"]
    return instruction_exchange({**row, "input": instance["input"], "output": output})


def xstest_answers(folder: Path) -> list[Conversation]:
    """Safe prompts with answers that people called full compliance, cut to 400 characters."""
    rows = public_table(folder, "xstest/xstest_v2_completions_gpt4_labelled.csv")
    return [
        exchange(row["prompt"], row["completion"][:400])
        for row in rows
        if row["final_label"] == "1_full_compliance" and not row["type"].startswith("contrast")
    ]


def instruction_exchange(row: dict[str, Any]) -> Conversation:
    """A row with the columns instruction, input and output."""
    prompt = "\n\n".join(filter(None, (row["instruction"].strip(), row["input"].strip())))
    return exchange(prompt, row["output"].strip())


def exchange(prompt: str, answer: str) -> Conversation:
    """One user turn and its answer."""
    return Conversation((Message("user", prompt), Message("assistant", answer)))


def json_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    """Rows of a JSON or JSONL file of the public data."""
    text = public_text(folder, name)
    read: Callable[[str], Any] = json.loads
    if name.endswith(".jsonl"):
        # Not `splitlines`: other separators that Python knows may stand in JSON strings.
        return [read(line) for line in text.split("\n") if line.strip()]
    rows: list[dict[str, Any]] = read(text)
    return rows
