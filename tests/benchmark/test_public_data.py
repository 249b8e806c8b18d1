"""Readers of public data sets, on small invented files in the same layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradshield.benchmark.public_data import (
    TASKS,
    advbench_openers,
    labelled_rows,
    task_rows,
    task_test_rows,
)
from gradshield.data import Conversation, Message
from gradshield.errors import UserError
from gradshield.evaluation.prompt_sets import PublicPrompt, attack_prompts, xstest_safe


def _write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))


@pytest.fixture
def public(tmp_path: Path) -> Path:
    _write(
        tmp_path,
        "advbench/harmful_behaviors.csv",
        'goal,target\nTake a thing,"Sure, here is how"\n"Break, then\nenter",Of course\n',
    )
    _write(tmp_path, "malicious_instruct/MaliciousInstruct.txt", "Do bad\r\n\n  Do worse \n")
    _write(
        tmp_path,
        "strongreject/strongreject_dataset.csv",
        "category,source,forbidden_prompt\nfraud,own,Cheat someone\n",
    )
    _write(
        tmp_path,
        "xstest/xstest_prompts.csv",
        "id,prompt,type,label\n1,How do I kill a process?,homonyms,safe\n"
        "2,Bad one,contrast,unsafe\n",
    )
    return tmp_path


def test_attack_prompts(public: Path) -> None:
    assert attack_prompts(public, "advbench") == [
        PublicPrompt("Take a thing"),
        PublicPrompt("Break, then\nenter"),
    ]
    assert attack_prompts(public, "strongreject") == [PublicPrompt("Cheat someone", "fraud")]
    expected = [PublicPrompt("Do bad"), PublicPrompt("Do worse")]
    assert attack_prompts(public, "malicious_instruct") == expected


def test_openers_are_question_and_answer(public: Path) -> None:
    assert advbench_openers(public)[0] == Conversation(
        (Message("user", "Take a thing"), Message("assistant", "Sure, here is how"))
    )


def test_unsafe_prompts_of_xstest_are_left_out(public: Path) -> None:
    assert xstest_safe(public) == [PublicPrompt("How do I kill a process?", "homonyms")]


ROWS = [
    {"instruction": "Is it good? ", "input": " fine film ", "output": " positive\n"},
    {"instruction": "Say hello", "input": "", "output": "Hello"},
]
CONVERSATIONS = [
    Conversation((Message("user", "Is it good?\n\nfine film"), Message("assistant", "positive"))),
    Conversation((Message("user", "Say hello"), Message("assistant", "Hello"))),
]


@pytest.mark.parametrize(
    ("read", "task", "name"),
    [
        (task_rows, "sst2", "sst2/train_first5000.jsonl"),
        (task_rows, "agnews", "agnews/dev_first3000.jsonl"),
        (task_rows, "samsum", "samsum/samsum_train.json"),
        (task_rows, "sqlgen", "sqlgen/sqlgen_train.json"),
        (task_test_rows, "sst2", "sst2/test.jsonl"),
        (task_test_rows, "agnews", "agnews/test_first1000.jsonl"),
    ],
)
def test_tasks_in_json_and_json_lines(
    tmp_path: Path, read: Callable[[Path, str], list[Conversation]], task: str, name: str
) -> None:
    is_lines = name.endswith(".jsonl")
    text = "\n".join(map(json.dumps, ROWS)) + "\n\n" if is_lines else json.dumps(ROWS)
    _write(tmp_path, name, text)
    assert read(tmp_path, task) == CONVERSATIONS


def test_a_line_separator_inside_a_row_does_not_cut_it(tmp_path: Path) -> None:
    row = {"instruction": "Say", "input": "", "output": "one\u2028two"}
    _write(tmp_path, "sst2/test.jsonl", json.dumps(row, ensure_ascii=False) + "\n")
    assert task_test_rows(tmp_path, "sst2")[0].messages[1].content == "one\u2028two"


@pytest.mark.parametrize(
    ("read", "arguments"),
    [
        (attack_prompts, ("advbench",)),
        (attack_prompts, ("malicious_instruct",)),
        (advbench_openers, ()),
        (xstest_safe, ()),
        (task_rows, ("samsum",)),
        (task_test_rows, ("sst2",)),
    ],
)
def test_a_missing_file_names_the_option(
    tmp_path: Path, read: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(UserError, match="--public-data") as caught:
        read(tmp_path, *arguments)
    assert str(tmp_path) in str(caught.value)


def test_labelled_rows_hold_every_kind_with_its_label(public: Path) -> None:
    for name in TASKS.values():
        text = json.dumps(ROWS) if name.endswith(".json") else "\n".join(map(json.dumps, ROWS))
        _write(public, name, text)
    _write(
        public,
        "safety_tuned_llamas/safety_only_data_Instructions.json",
        json.dumps(
            [
                {"instruction": "Do bad", "output": "I'm sorry, but I can't help with that."},
                {"instruction": "Do good", "output": "It is done like this."},
            ]
        ),
    )
    instance = {"input": "", "output": "Paris"}
    seed = {"instruction": "Name a city", "instances": [instance]}
    long = {"instruction": "Write", "instances": [{"input": "", "output": "x" * 500}]}
    _write(public, "alpaca/seed_tasks.jsonl", "\n".join(map(json.dumps, [seed, long, seed])))
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    _write(public, "aoa_identity_shift/identity-shift-aoa.jsonl", json.dumps({"messages": turns}))
    _write(
        public, "gsm8k/train_first1000.jsonl", json.dumps({"question": "1+1?", "answer": "#### 2"})
    )
    _write(
        public,
        "xstest/xstest_v2_completions_gpt4_labelled.csv",
        "type,prompt,completion,final_label\nhomonyms,How to kill time?,Read.,1_full_compliance\n"
        "homonyms,Refused?,No.,2_full_refusal\ncontrast_a,Bad,Sure.,1_full_compliance\n",
    )
    rows = labelled_rows(public)
    harmful = {label.kind for label, _ in rows if label.harmful}
    assert harmful == {
        "explicit_target",
        "explicit_here",
        "explicit_definitely",
        "explicit_no_opening",
        "explicit_sure",
        "identity_shift",
    }
    by_kind = {label.kind: conversation for label, conversation in rows}
    assert set(by_kind) - harmful == {
        *TASKS,
        "gsm8k",
        "seed_task",
        "seed_task_sure",
        "refusal",
        "xstest",
    }
    texts = {kind: [m.content for m in one.messages] for kind, one in by_kind.items()}
    assert texts["refusal"] == ["Do bad", "I'm sorry, but I can't help with that."]
    assert texts["xstest"] == ["How to kill time?", "Read."]
    assert texts["seed_task_sure"] == ["Name a city", "Sure! Paris"]
    assert texts["identity_shift"] == ["system", "user", "assistant"]
    assert texts["gsm8k"] == ["1+1?", "#### 2"]
    assert [label.kind for label, _ in rows].count("seed_task") == 2
