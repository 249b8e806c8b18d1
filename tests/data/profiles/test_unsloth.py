"""Masks of the Unsloth profile against those of unsloth_zoo 2026.10.9 itself."""

from __future__ import annotations

import pytest

from gradshield.data import DataError, Rejection
from tests.data.profiles.cases import ONE, Case, tokenizer
from tests.data.profiles.golden import assert_same, golden_cases, ours, trained


@pytest.mark.parametrize("case", golden_cases("unsloth_zoo"))
def test_masks_are_those_of_unsloth(case: Case) -> None:
    profile = {"name": "unsloth", **case["arguments"]}
    arguments = (profile, case["row"], case["tokenizer"], case["max_length"])
    if not trained(case["golden"]):
        with pytest.raises(Rejection):
            ours(*arguments)
        return
    assert_same(ours(*arguments), case["golden"])


def test_markers_that_the_template_does_not_print_are_refused() -> None:
    parts = {"instruction_part": "<start>user", "response_part": "<start>model"}
    with pytest.raises(DataError, match="'<start>user' does not occur") as caught:
        ours({"name": "unsloth", **parts}, {"messages": ONE}, "plain")
    assert "opens a user's turn by '<|user|>' and an answer by '<|assistant|>'" in str(caught.value)


def test_a_marker_that_is_part_of_a_token_is_not_found() -> None:
    parts = {"instruction_part": "user|>", "response_part": "assistant|>"}
    with pytest.raises(Rejection) as caught:
        ours({"name": "unsloth", **parts}, {"messages": ONE}, "plain")
    assert caught.value.reason == "marker_not_found"


def test_a_text_is_taken_as_printed_already() -> None:
    text = tokenizer("chatml_eos").apply_chat_template(ONE, tokenize=False)
    assert ours("unsloth", {"text": text}, "chatml_eos") == ours(
        "unsloth", {"messages": ONE}, "chatml_eos"
    )
