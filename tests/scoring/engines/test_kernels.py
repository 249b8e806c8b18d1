from __future__ import annotations

from typing import Any

import pytest

from gradshield.scoring.engines.kernels import kernel_notes
from tests.tiny_architectures import tiny_architecture
from tests.tiny_models import tiny_llama

WHY = "the fused ones have no forward derivative"


@pytest.mark.parametrize(
    ("attention", "notes"),
    [
        ("sdpa", (f"attention by the math kernel: {WHY}",)),
        ("eager", ()),
        ("flash_attention_2", (f"attention in eager mode instead of flash_attention_2: {WHY}",)),
    ],
)
def test_notes_tell_which_attention_is_replaced(attention: str, notes: tuple[str, ...]) -> None:
    model = tiny_llama()
    model.config._attn_implementation_internal = attention
    assert kernel_notes(model) == notes


def test_notes_tell_of_experts_where_the_model_chooses_how_to_run_them() -> None:
    model = tiny_architecture("mixtral")
    config: Any = model.config
    config._attn_implementation_internal = "eager"
    config._experts_implementation_internal = "grouped_mm"
    assert kernel_notes(model) == (f"experts in eager mode instead of grouped_mm: {WHY}",)
