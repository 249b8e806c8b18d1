"""Editing YAML text changes the values that are meant and not a byte beside them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.errors import UserError
from gradshield.hooks.yaml_edit import edited

TEXT = """\
# how we train
base_model: ./model   # aligned
datasets:
  - path: data/a.jsonl  # ours
    type: alpaca
  - {path: 'b "quoted".jsonl', type: chat_template}
  - path: >-
      folded
      name.jsonl
    split: train
dataset_prepared_path:    # default
learning_rate: 0.0002
"""


def test_single_values_are_changed_in_place() -> None:
    new = edited(
        TEXT,
        {
            ("datasets", 0, "path"): "runs/a/kept.jsonl",
            ("datasets", 1, "path"): "runs/with space/kept.jsonl",
            ("datasets", 2, "path"): "yes",
            ("dataset_prepared_path",): "prepared-1",
        },
    )
    assert new == TEXT.replace("data/a.jsonl", "runs/a/kept.jsonl").replace(
        "'b \"quoted\".jsonl'", '"runs/with space/kept.jsonl"'
    ).replace(">-\n      folded\n      name.jsonl", '"yes"').replace(
        "path:    # default", "path: prepared-1    # default"
    )


def test_a_new_key_goes_before_the_others() -> None:
    new = edited(TEXT, {("media_dir",): "data", ("dataset_dir",): "a: b"})
    assert new == TEXT.replace("base_model", 'media_dir: data\ndataset_dir: "a: b"\nbase_model', 1)
    assert edited("---\n  a: 1\n", {("b",): "c"}) == "---\n  b: c\n  a: 1\n"


def test_json_stays_json() -> None:
    text = json.dumps({"dataset": "a,b", "bf16": True}, indent=2)
    new = edited(text, {("dataset",): "a_gradshield,b", ("media_dir",): "data"})
    assert json.loads(new) == {"media_dir": "data", "dataset": "a_gradshield,b", "bf16": True}


@pytest.mark.parametrize(
    "text",
    [
        "base: &b {path: a}\ndatasets: [{<<: *b, type: x}]",
        "datasets: [{type: x}]",
        "datasets: [{path: [a, b]}]",
        "datasets: {}",
        "datasets: []",
    ],
)
def test_what_is_no_value_of_its_own_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"datasets\.0\.path is shared or put together"):
        edited(text, {("datasets", 0, "path"): "new"})


def test_one_value_that_stands_for_two_places() -> None:
    text = "datasets: [&d {path: a}, *d]"
    both = {("datasets", 0, "path"): "x", ("datasets", 1, "path"): "x"}
    assert yaml.safe_load(edited(text, both))["datasets"] == [{"path": "x"}] * 2
    with pytest.raises(UserError, match="shared"):
        edited(text, {**both, ("datasets", 1, "path"): "y"})


# Line breaks of Unicode are read as others by YAML, in its own text too.
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")))


@settings(max_examples=50)
@given(
    content=st.dictionaries(st.text("abc", min_size=1), words, min_size=1, max_size=4),
    value=words,
    flow=st.booleans(),
    data=st.data(),
)
def test_only_the_value_changes(content: dict[str, str], value: str, flow: bool, data: Any) -> None:
    key = data.draw(st.sampled_from([*content, "new"]))
    text = yaml.safe_dump(content, allow_unicode=True, default_flow_style=flow)
    assert yaml.safe_load(edited(text, {(key,): value})) == {**content, key: value}
