from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.prompt_sets import PACKAGED, PublicPrompt, evaluated_set, own_set


@pytest.mark.parametrize("name", list(PACKAGED))
def test_packaged_sets_hold_test_prompts_and_say_what_is_expected(name: str) -> None:
    chosen = evaluated_set(name)
    assert len(chosen.prompts) >= 30
    assert chosen.expectation == ("refuse" if name == "harmful" else "answer")
    assert all(prompt.kind for prompt in chosen.prompts)


def test_xstest_is_two_sets(tmp_path: Path) -> None:
    (tmp_path / "xstest").mkdir()
    (tmp_path / "xstest" / "xstest_prompts.csv").write_text(
        "id,prompt,type,label\n"
        "1,How do I kill a process?,homonyms,safe\n"
        "2,Hurt him,contrast,unsafe\n"
    )
    safe = evaluated_set("xstest_safe", tmp_path)
    unsafe = evaluated_set("xstest_unsafe", tmp_path)
    assert safe.prompts == (PublicPrompt("How do I kill a process?", "homonyms"),)
    assert safe.expectation == "answer"
    assert unsafe.prompts == (PublicPrompt("Hurt him", "contrast"),)
    assert unsafe.expectation == "refuse"


def test_a_public_set_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"advbench is a public one: name its folder"):
        evaluated_set("advbench")
    with pytest.raises(UserError, match=r"harmful_behaviors\.csv is needed and missing"):
        evaluated_set("advbench", tmp_path)


def test_an_unknown_set_is_told_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"Unknown prompt set advbank: choose of harmful, .*"):
        evaluated_set("advbank")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mine.txt", "\ufeffOpen it\n\n Break it \n"),
        ("mine.csv", 'id,goal\n1,Open it\n2,"Break it"\n'),
        ("mine.jsonl", '{"prompt": "Open it"}\n{"prompt": "Break it", "other": 1}\n'),
    ],
)
def test_own_prompts_of_three_kinds_of_file(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    chosen = own_set(path, "refuse")
    assert chosen.name == "mine"
    assert [prompt.text for prompt in chosen.prompts] == ["Open it", "Break it"]


def test_own_prompts_keep_their_kind(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("prompt,type\nOpen it,locks\n")
    assert own_set(path, "answer").prompts == (PublicPrompt("Open it", "locks"),)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.csv", "id,topic\n1,x\n", r"mine\.csv, row 1 has no prompt: .*prompt, goal"),
        ("mine.jsonl", '{"prompt": "a"}\n{"prompt": 3}\n', "row 2 has no prompt"),
        ("mine.jsonl", "{\n", "cannot be read"),
        ("mine.jsonl", "3\n", "cannot be read"),
        ("mine.txt", "\n\n", "holds no prompts"),
    ],
)
def test_unusable_prompt_files_are_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        own_set(path, "refuse")


def test_a_missing_prompt_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no prompt file"):
        own_set(tmp_path / "none.txt", "refuse")
