"""Masks of the LLaMA-Factory profile against those of LLaMA-Factory 0.9.5 itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gradshield.data import DataError, Rejection, make_profile, tokenize_rows
from gradshield.data.profiles.llamafactory.config import read_llamafactory
from gradshield.data.profiles.llamafactory.profile import share_room
from gradshield.data.rows import SourceRow
from tests import tiny_tokenizers as tiny
from tests.data.profiles.cases import ONE, TWO, Case, tokenizer
from tests.data.profiles.golden import assert_same, golden_cases, ours, read, trained


@pytest.mark.parametrize("case", golden_cases("llamafactory"))
def test_masks_are_those_of_llamafactory(case: Case, tmp_path: Path) -> None:
    info = tmp_path / "dataset_info.json"
    info.write_text(json.dumps({"rows": case["dataset_info"]}), encoding="utf-8")
    training = tmp_path / "sft.yaml"
    training.write_text(yaml.safe_dump(case["training"]), encoding="utf-8")
    given = read_llamafactory(info, "rows", training)
    arguments = (given.profile, case["row"], case["tokenizer"], given.max_length)
    if not trained(case["golden"]):
        with pytest.raises(Rejection):
            ours(*arguments)
        return
    assert_same(ours(*arguments), case["golden"])


def _info(folder: Path, **entries: Any) -> Path:
    path = folder / "dataset_info.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def _training(folder: Path, **content: Any) -> Path:
    path = folder / "sft.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"ranking": True}, "ranking: true means pairs of answers"),
        ({"columns": {"kto_tag": "good"}}, "kto_tag means answers marked good or bad"),
        ({"columns": {"images": "pictures"}}, "the column images is not supported"),
        ({"columns": ["prompt"]}, "columns and tags must each be names"),
    ],
)
def test_data_sets_that_a_profile_is_not_for_are_refused(
    entry: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    info = _info(tmp_path, mine={"file_name": "rows.json", **entry})
    with pytest.raises(DataError, match=complaint):
        read_llamafactory(info, "mine", None)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"stage": "dpo"}, "stage: dpo is not supported"),
        ({"tool_format": "qwen"}, "tool_format decides the tokens"),
        ({"new_special_tokens_config": "x.yaml"}, "new_special_tokens_config decides"),
    ],
)
def test_trainings_that_make_other_tokens_are_refused(
    content: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=complaint):
        read_llamafactory(None, None, _training(tmp_path, **content))


def test_the_training_names_data_set_template_and_length(tmp_path: Path) -> None:
    _info(tmp_path, mine={"file_name": "rows.json"}, other={"file_name": "other.json"})
    (tmp_path / "rows.json").touch()
    training = _training(
        tmp_path,
        stage="sft",
        template="llama3",
        cutoff_len=99,
        learning_rate=1e-4,
        dataset="mine",
        dataset_dir=str(tmp_path),
    )
    given = read_llamafactory(None, None, training)
    assert given.profile == {"name": "llamafactory", "formatting": "alpaca", "template": "llama3"}
    assert given.max_length == 99
    assert given.data == tmp_path / "rows.json"
    both = _training(tmp_path, dataset="mine, other", dataset_dir=str(tmp_path), packing=True)
    with pytest.raises(DataError, match="choose one data set with --dataset: mine, other"):
        read_llamafactory(None, None, both)
    chosen = read_llamafactory(None, "other", both)
    assert chosen.data is None
    packed = _training(tmp_path, cutoff_len=99, packing=True)
    assert read_llamafactory(None, None, packed).max_length == 98


def test_a_data_set_that_is_not_listed_is_named(tmp_path: Path) -> None:
    info = _info(tmp_path, mine={"file_name": "rows.json"}, hub={"hf_hub_url": "x/y"})
    with pytest.raises(DataError, match="no data set 'yours'; it has mine, hub"):
        read_llamafactory(info, "yours", None)
    assert read_llamafactory(info, "hub", None).data is None


@pytest.mark.parametrize("content", ["[1]", "{", '{"mine": 3}'])
def test_what_is_no_list_of_data_sets_is_refused(content: str, tmp_path: Path) -> None:
    info = tmp_path / "dataset_info.json"
    info.write_text(content, encoding="utf-8")
    with pytest.raises(DataError):
        read_llamafactory(info, "mine", None)


def test_a_template_of_another_model_is_refused() -> None:
    profile = make_profile({"name": "llamafactory", "template": "llama3"})
    with pytest.raises(DataError, match=r"needs the token '<\|eot_id\|>'"):
        profile.encoder(tiny.byte_level_tokenizer(), read, None)


def test_a_chat_template_that_cannot_be_taken_apart_asks_for_a_name() -> None:
    no_system = tiny.byte_level_tokenizer(tiny.T2_NO_SYSTEM)
    with pytest.raises(DataError, match="name one of its own"):
        make_profile("llamafactory").encoder(no_system, read, None)


def test_end_tokens_that_are_no_tokens_of_the_row_are_not_scored() -> None:
    """There LLaMA-Factory wants the EOS token where the next question's first token stands."""
    profile = {"name": "llamafactory", "template": "gemma2"}
    with pytest.raises(Rejection, match="only rows of one question and one answer"):
        ours(profile, {"messages": TWO}, "chatml")


def test_rows_with_tools_are_not_scored_without_them() -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    profile = {"name": "llamafactory", "template": "chatml"}
    with pytest.raises(Rejection, match="tools are not supported"):
        ours(profile, {"messages": ONE, "tools": [tool]}, "chatml")


def test_of_odd_rows_each_is_accounted_for() -> None:
    """As in a public report, where all of them vanished without a line number."""
    rows = [
        {"messages": [{"role": "system", "content": "Be brief."}]},
        {"messages": ONE[:1]},
        {"messages": ONE},
    ]
    examples, rejections, _ = tokenize_rows(
        [SourceRow(number, number + 1, row) for number, row in enumerate(rows)],
        tokenizer("chatml"),
        profile={"name": "llamafactory", "template": "chatml"},
    )
    assert [example.row for example in examples] == [2]
    assert sorted(rejections) == [0, 1]


def test_without_an_entry_instruction_rows_are_joined_as_llamafactory_joins_them() -> None:
    row = {"instruction": "Total:", "input": "40 EUR, 2 EUR", "output": "42 EUR"}
    example = ours({"name": "llamafactory", "template": "chatml"}, row, "chatml")
    assert "Total:\n40 EUR" in tokenizer("chatml").decode(example.input_ids)


@given(prompt=st.integers(1, 300), answer=st.integers(1, 300), room=st.integers(1, 300))
def test_prompt_and_answer_never_get_more_than_the_room(
    prompt: int, answer: int, room: int
) -> None:
    kept_prompt, kept_answer = share_room(prompt, answer, room)
    assert 0 <= kept_prompt <= prompt
    assert 0 <= kept_answer <= answer
    assert kept_prompt + kept_answer <= room
    if prompt + answer <= room:
        assert (kept_prompt, kept_answer) == (prompt, answer)
