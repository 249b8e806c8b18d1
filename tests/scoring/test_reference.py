from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from gradshield.data import make_profile
from gradshield.errors import UserError
from gradshield.probes.harmless_rows import harmless_rows
from gradshield.progress import Silent
from gradshield.scoring.reference import check_reference, reference_examples
from tests.tiny_models import chat_tokenizer, tiny_loaded


def test_reference_rows_are_the_harmless_rows_that_no_direction_has_seen() -> None:
    loaded = tiny_loaded()
    examples = reference_examples(loaded)
    assert examples == [row.example for row in harmless_rows(loaded.tokenizer, "validation")]
    assert [example.row for example in examples] == list(range(len(examples)))
    seen = {row.example.input_ids for row in harmless_rows(loaded.tokenizer, "probe")}
    assert not seen & {example.input_ids for example in examples}


def line(loss: float | None, fihs: float = 0.1) -> dict[str, Any]:
    status = "rejected" if loss is None else "scored"
    return {"loss": loss, "fihs": fihs, "status": status}


class Listening(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, line: str) -> None:
        self.warnings.append(line)


def warnings_of(lines: Sequence[dict[str, Any]]) -> list[str]:
    progress = Listening()
    check_reference(tiny_loaded(), lines, progress)
    return progress.warnings


def test_a_loss_well_below_that_of_drawing_at_random() -> None:
    assert warnings_of([line(0.8 * math.log(len(chat_tokenizer())))] * 5) == []


def test_a_loss_like_that_of_drawing_at_random() -> None:
    told = warnings_of([line(0.95 * math.log(len(chat_tokenizer())))] * 5)
    assert len(told) == 1
    assert "belong to different models" in told[0]


def test_some_reference_rows_that_overflow() -> None:
    told = warnings_of([line(None), line(1.0), line(2.0)])
    assert len(told) == 1
    assert "overflow in float32 on 1 of 3 harmless reference rows" in told[0]


def test_no_reference_row_that_could_be_scored() -> None:
    loaded = tiny_loaded()
    loaded.model.to(torch.float16)
    text = (
        "The model's numbers overflow in {} on each of 2 harmless reference rows, so no row can be "
        "scored: {}."
    )
    with pytest.raises(UserError) as refusal:
        check_reference(loaded, [line(None)] * 2, Silent())
    assert str(refusal.value) == text.format("float16", "use --dtype float32")
    loaded.model.to(torch.float32)
    with pytest.raises(UserError) as refusal:
        check_reference(loaded, [line(None)] * 2, Silent())
    assert str(refusal.value) == text.format("float32", "use another model")


@pytest.mark.parametrize(
    ("profile", "like"),
    [
        ("trl", {"prompt": "a", "completion": "b"}),
        ("trl", {"prompt": [], "completion": []}),
        ("trl", {"text": "a"}),
        ({"name": "axolotl", "type": "alpaca"}, {}),
        ({"name": "axolotl", "type": "alpaca_w_system.load"}, {}),
        ({"name": "axolotl", "type": "completion"}, {}),
        ({"name": "axolotl", "type": "input_output"}, {}),
        ({"name": "axolotl", "type": {"field_output": "a"}}, {}),
        ({"name": "axolotl", "field_messages": "talk"}, {}),
        ({"name": "llamafactory", "template": "chatml"}, {}),
        ({"name": "llamafactory", "template": "chatml", "formatting": "alpaca"}, {}),
        ({"name": "llamafactory", "template": "chatml", "formatting": "sharegpt"}, {}),
        ("unsloth", {}),
        ("openai", {}),
    ],
)
def test_every_profile_can_write_the_reference_rows(profile: Any, like: dict[str, Any]) -> None:
    plain = reference_examples(tiny_loaded())
    examples = reference_examples(tiny_loaded(), make_profile(profile), like)
    assert [example.row for example in examples] == [example.row for example in plain]


def test_where_prompts_carry_loss_they_do_in_the_reference() -> None:
    loaded = tiny_loaded()
    examples = reference_examples(loaded, make_profile("trl"), {"messages": []})
    assert all(all(example.response_mask[1:]) for example in examples)
    longer = zip(examples, reference_examples(loaded), strict=True)
    assert all(own.response_tokens > plain.response_tokens for own, plain in longer)


def test_a_profile_that_learns_nothing_from_answers_has_no_reference() -> None:
    profile = make_profile({"name": "axolotl", "roles_to_train": ["system"]})
    with pytest.raises(UserError, match="no harmless reference"):
        reference_examples(tiny_loaded(), profile)
