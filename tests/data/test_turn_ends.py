from __future__ import annotations

import pytest

from gradshield.data.turn_ends import TurnEnds, possible_headers


@pytest.mark.parametrize(
    ("tail", "place"),
    [
        ('"}</tool_call><|end|>\n<|user|>', 14),
        ("<|end|>", 0),
        ('"}<|call|><|start|>', 10),
        ('"}<|eom_id|><|header|>', 12),
        # The end of turn counts where there is one, wherever a call may end.
        ("<|call|>x<|end|>", 9),
        ("}<|user|>", None),
        ("", None),
    ],
)
def test_the_end_of_a_turn_in_what_comes_after_its_texts(tail: str, place: int | None) -> None:
    assert TurnEnds("<|end|>", True).find(tail) == place


def test_a_template_without_an_end_of_turn() -> None:
    assert TurnEnds("", True).find("}<|user|>") is None
    assert TurnEnds("", True).find("}<|observation|>") == 16


@pytest.mark.parametrize(
    ("prompt", "without"),
    [
        ("<|assistant|>", "<|assistant|>"),
        ("<|assistant|>\n<think>\n", "<|assistant|>\n"),
        ("<|assistant|><think>\n\n</think>\n\n", "<|assistant|>"),
        ("<think>x", "<think>x"),
    ],
)
def test_reasoning_that_a_prompt_opens_is_no_part_of_the_header(prompt: str, without: str) -> None:
    assert possible_headers(prompt) == (prompt, without)
