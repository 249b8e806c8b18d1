"""Masks of the axolotl profile against those of axolotl 0.19.0 itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gradshield.data import DataError, Rejection, make_profile
from gradshield.data.profiles.axolotl.config import read_axolotl
from tests.data.profiles.cases import ONE, Case
from tests.data.profiles.golden import assert_same, golden_cases, ours, trained


@pytest.mark.parametrize("case", golden_cases("axolotl"))
def test_masks_are_those_of_axolotl(case: Case, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(case["config"]), encoding="utf-8")
    given = read_axolotl(config)
    arguments = (given.profile, case["row"], case["tokenizer"], given.max_length)
    if not trained(case["golden"]):
        with pytest.raises(Rejection):
            ours(*arguments)
        return
    assert_same(ours(*arguments), case["golden"])


def _config(folder: Path, **content: Any) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


CHAT = {"path": "rows.jsonl", "type": "chat_template"}


@pytest.mark.parametrize(
    ("file", "entry", "complaint"),
    [
        ({"rl": "dpo"}, {}, "rl decides which tokens carry loss and is not supported"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {}, "chat_template_kwargs decides"),
        ({"added_tokens_overrides": {5: "<x>"}}, {}, "added_tokens_overrides decides"),
        ({}, {"message_field_training_detail": "train_detail"}, "data set rows.jsonl: message_f"),
        ({}, {"split_thinking": True}, "split_thinking decides"),
        ({}, {"type": "sharegpt.load_role"}, "refused by axolotl itself; write type: chat_templ"),
        ({"chat_template": "llama3"}, {}, "is a template of axolotl's own"),
        ({}, {"chat_template_jinja": "{{ x }}"}, "axolotl ignores the data set's chat_template_j"),
    ],
)
def test_keys_that_decide_the_tokens_and_are_not_supported_are_named(
    file: dict[str, Any], entry: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    config = _config(tmp_path, **file, datasets=[{**CHAT, **entry}])
    with pytest.raises(DataError, match=complaint):
        read_axolotl(config)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"type": "metharme"}, "the type 'metharme' is not supported"),
        ({"type": {"format": "{question}", "extra": 1}}, "type: there is no 'extra' in it"),
        ({"message_property_mappings": {"tool_calls": "calls"}}, "'tool_calls' of turns"),
        ({"roles_to_train": "assistant"}, "roles_to_train"),
    ],
)
def test_settings_that_cannot_be_are_named(
    entry: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    given = read_axolotl(_config(tmp_path, datasets=[{**CHAT, **entry}]))
    with pytest.raises(DataError, match=complaint):
        make_profile(given.profile)


def test_keys_without_influence_are_ignored(tmp_path: Path) -> None:
    given = read_axolotl(
        _config(
            tmp_path,
            base_model="x",
            learning_rate=1e-4,
            sample_packing=True,
            rl=None,
            datasets=[{**CHAT, "split": "train", "split_thinking": False, "shards": 4}],
        )
    )
    assert given.profile == {"name": "axolotl", "type": "chat_template"}
    assert given.max_length is None


def test_data_beside_the_configuration_are_found(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    config = _config(tmp_path, sequence_len=64, datasets=[CHAT])
    given = read_axolotl(config)
    assert given.data == tmp_path / "rows.jsonl"
    assert given.max_length == 64
    by_kind = _config(tmp_path, datasets=[{**CHAT, "path": "json", "data_files": "rows.jsonl"}])
    assert read_axolotl(by_kind).data == tmp_path / "rows.jsonl"
    several = _config(tmp_path, datasets=[{**CHAT, "data_files": ["rows.jsonl", "b.jsonl"]}])
    assert read_axolotl(several).data is None
    hub = _config(tmp_path, datasets=[{"path": "somebody/chats", "type": "chat_template"}])
    assert read_axolotl(hub).data is None


def test_of_several_data_sets_one_is_chosen(tmp_path: Path) -> None:
    other = {"path": "other.jsonl", "type": "alpaca"}
    config = _config(tmp_path, datasets=[CHAT, other])
    with pytest.raises(DataError, match=r"names 2 data sets \(rows.jsonl, other.jsonl\)"):
        read_axolotl(config)
    assert read_axolotl(config, "other.jsonl").profile["type"] == "alpaca"


@pytest.mark.parametrize("content", ["- a", "a: [", "datasets: 3", ""])
def test_what_is_no_configuration_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError):
        read_axolotl(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_axolotl(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"special_tokens": {"eos_token": "<|end_of_text|>"}}, "adds the token '<|end_of_text|>'"),
        ({"tokens": ["<new>"]}, "adds the token '<new>'"),
        ({"eot_tokens": ["im_start"]}, "'im_start' is not one token"),
        ({"train_on_eot": "all"}, "train_on_eos and train_on_eot differ"),
        ({"type": {"format": "{question}"}}, "may name {instruction}, {input} and {system} only"),
    ],
)
def test_what_the_tokenizer_cannot_do_is_named(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        ours({"name": "axolotl", **settings}, {"messages": ONE}, "chatml_eos")


def test_a_pad_token_that_is_added_has_no_influence() -> None:
    row = {"messages": ONE}
    padded = {"name": "axolotl", "special_tokens": {"pad_token": "<new>"}}
    assert ours(padded, row, "chatml") == ours("axolotl", row, "chatml")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [*ONE, {"role": "tool", "content": "4 C"}]}, "unsupported_content"),
        ({"messages": [{**ONE[0], "reasoning_content": "so"}, ONE[1]]}, "unsupported_content"),
        ({"messages": ONE, "tools": [{"type": "function"}]}, "unsupported_content"),
        ({"messages": [{"role": "user", "content": None}, ONE[1]]}, "unsupported_content"),
        ({"messages": [{"content": "a"}, ONE[1]]}, "missing_field"),
        ({"conversations": ONE}, "missing_field"),
        ({"messages": ONE[:1]}, "no_assistant_turn"),
    ],
)
def test_rows_that_cannot_be_scored_say_why(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejection) as caught:
        ours("axolotl", row, "chatml_eos")
    assert caught.value.reason == reason


def test_a_text_that_axolotl_cuts_into_several_rows_is_rejected() -> None:
    profile = {"name": "axolotl", "type": "completion", "excess_length_strategy": "truncate"}
    with pytest.raises(Rejection, match="cuts it into several rows"):
        ours(profile, {"text": "The Loire. " * 20}, "plain", 30)
