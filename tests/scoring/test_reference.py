from __future__ import annotations

from typing import Any

import pytest

from gradshield.data import make_profile
from gradshield.errors import UserError
from gradshield.probes.harmless_rows import harmless_rows
from gradshield.scoring.reference import reference_examples
from tests.tiny_models import tiny_loaded


def test_reference_rows_are_the_harmless_rows_that_no_direction_has_seen() -> None:
    loaded = tiny_loaded()
    examples = reference_examples(loaded)
    assert examples == [row.example for row in harmless_rows(loaded.tokenizer, "validation")]
    assert [example.row for example in examples] == list(range(len(examples)))
    seen = {row.example.input_ids for row in harmless_rows(loaded.tokenizer, "probe")}
    assert not seen & {example.input_ids for example in examples}


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
