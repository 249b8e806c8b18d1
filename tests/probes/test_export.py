from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedModel

from gradshield.errors import UserError
from gradshield.models import load_model
from gradshield.models.likelihood import response_token_losses
from gradshield.probes.direction import Direction, proxy_gradient, training_direction
from gradshield.probes.export import export_direction
from gradshield.probes.proxies.first_token import FirstToken
from gradshield.scoring.engines.per_example import PerExample
from tests.tiny_architectures import tiny_architecture
from tests.tiny_models import chat_tokenizer, mixed_examples, tiny_gpt2, tiny_llama

STEP = 5e-3


def summed_losses(base: Path, adapter: Path) -> np.ndarray:
    """Summed losses of the mixed examples, with the adapter loaded by PEFT."""
    model = load_model(str(base), adapter=adapter, dtype="float32", device="cpu").model
    return np.array(
        [float(losses.detach().sum()) for losses in response_token_losses(model, mixed_examples())]
    )


@pytest.mark.parametrize("model", [tiny_llama(), tiny_gpt2()], ids=["llama", "gpt2"])
def test_losses_under_the_two_adapters_give_the_score(
    model: PreTrainedModel, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "base")
    chat_tokenizer().save_pretrained(tmp_path / "base")
    proxy = FirstToken(compliant=70, refusing=71)
    direction = proxy_gradient(model, chat_tokenizer(), proxy, ["Hi", "Name a river."])
    kept = export_direction(
        direction, tmp_path / "adapters", rank=32, step=STEP, base_model=str(tmp_path / "base")
    )
    assert kept == pytest.approx(1.0, abs=1e-5)
    above = summed_losses(tmp_path / "base", tmp_path / "adapters" / "above")
    below = summed_losses(tmp_path / "base", tmp_path / "adapters" / "below")
    engine = PerExample(tokens=False).prepare(model, direction, "sum", [])
    exact = np.array([score.fihs for score in engine.score(mixed_examples())])
    found = (below - above) / (2 * STEP)
    np.testing.assert_allclose(found, exact, atol=5e-3 * np.abs(exact).max())


def test_a_low_rank_keeps_less_energy(tmp_path: Path) -> None:
    model = tiny_llama()
    direction = Direction(training_direction(model, mixed_examples()), {})
    kept = [
        export_direction(direction, tmp_path / str(rank), rank=rank, step=STEP, base_model="tiny")
        for rank in (1, 4, 16)
    ]
    assert 0 < kept[0] < kept[1] < kept[2] <= 1


def test_stacks_of_experts_cannot_be_exported(tmp_path: Path) -> None:
    model = tiny_architecture("mixtral")
    direction = Direction(training_direction(model, mixed_examples()[:1]), {})
    with pytest.raises(UserError, match=r"mlp\.experts\.gate_up_proj, a stack of experts'"):
        export_direction(direction, tmp_path, rank=1, step=STEP, base_model="tiny")
