"""What the attacker sees: the engine's scores, and a direction of its own."""

from __future__ import annotations

import pytest
import torch

from gradshield.benchmark.attacks.victim import Victim, fihs_scorer, own_direction
from gradshield.data import Conversation, Message
from gradshield.models.layers import LATE_MLP
from gradshield.probes.direction import proxy_gradient, training_direction
from gradshield.probes.harmless_training import harmless_groups
from gradshield.probes.proxies import OwnAnswers
from gradshield.probes.proxies.contrast import make_contrast
from gradshield.progress import Silent
from gradshield.scoring.engines import PerExample
from tests.tiny_models import mixed_examples, random_direction, tiny_loaded

PROMPTS = ["Break a thing", "Harm a person", "Steal a car"]


def test_scores_come_in_the_order_of_the_examples() -> None:
    loaded = tiny_loaded()
    engine = PerExample(tokens=False).prepare(
        loaded.model, random_direction(loaded.model), "sum", []
    )
    examples = mixed_examples()
    expected = [one.fihs for one in engine.score(examples)]
    found = fihs_scorer(loaded, engine)(examples)
    assert found == pytest.approx(expected)
    assert fihs_scorer(loaded, engine)(examples[::-1]) == pytest.approx(expected[::-1])


def test_rows_are_cut_to_the_length_of_training() -> None:
    loaded = tiny_loaded()
    lengths: list[int] = []

    def note(examples):  # type: ignore[no-untyped-def]
        lengths.extend(len(one.input_ids) for one in examples)
        return torch.zeros(len(examples)).numpy()

    row = Conversation((Message("user", "Hi"), Message("assistant", "yes " * 90)))
    for limit in (None, 40):
        Victim(note, loaded.tokenizer, max_length=limit).scores([row])
    assert lengths[0] > 100
    assert lengths[1] == 40


def test_the_attackers_direction_is_its_gradient_without_harmless_training() -> None:
    loaded = tiny_loaded()
    found = own_direction(loaded, PROMPTS, Silent())
    proxy = make_contrast(loaded.tokenizer, OwnAnswers([], []))
    gradient = proxy_gradient(loaded.model, loaded.tokenizer, proxy, PROMPTS, modules=LATE_MLP)
    groups = [
        training_direction(loaded.model, rows, modules=LATE_MLP) for rows in harmless_groups(loaded)
    ]
    assert found.tensors.keys() == gradient.tensors.keys()
    for name, tensor in found.tensors.items():
        flat, whole = tensor.double().flatten(), gradient.tensors[name].double().flatten()
        span = torch.stack([group[name].double().flatten() for group in groups])
        # Least squares instead of projections: what the groups cannot explain is left.
        weights = torch.linalg.lstsq(span.T, whole[:, None], driver="gelsd").solution[:, 0]
        assert torch.allclose(flat, whole - weights @ span, atol=1e-5 * float(whole.norm()))
        assert 0 < float(flat.norm()) < float(whole.norm())
