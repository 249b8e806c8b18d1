"""Scores of preferences against automatic differentiation of the losses as they are written."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from gradshield.config import ScoringSettings
from gradshield.data import TokenizedPair
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import Direction, training_direction
from gradshield.scoring.engines import ENGINES, LINEAR_ENGINES, ExampleScore
from gradshield.scoring.preference import (
    LOSSES,
    combined,
    preference_settings,
    preference_statement,
    score_pairs,
)
from tests.tiny_models import (
    chat_example,
    chat_tokenizer,
    full_logits_loss,
    mixed_examples,
    random_direction,
    same_weights,
    snapshot,
    tiny_llama,
)

ERROR = {"per_example": 1e-5, "jvp": 1e-5, "finite_difference": 2e-3}
"""Difference from the oracle, relative to a typical score."""

ANSWERS = [
    ("Name a river.", "The Loire.", "No. " * 12),
    ("Hi", "Hello Hi", "Hello No"),
    ("Reply as file", "name.json", "Total: 42 EUR, and 42 EUR more than that."),
    ("Total?", "42 EUR " * 20, "0"),
    ("Is water wet?", "No.", "Yes."),
]


def pairs() -> list[TokenizedPair]:
    return [
        TokenizedPair(chat_example(row, prompt, chosen), chat_example(row, prompt, rejected))
        for row, (prompt, chosen, rejected) in enumerate(ANSWERS)
    ]


def scores(
    model: PreTrainedModel, direction: Direction, some: list[TokenizedPair], **options: object
) -> dict[int, ExampleScore]:
    settings = preference_settings(ScoringSettings.model_validate(options))
    engine = ENGINES[settings.engine].prepare(
        model, direction, settings.reduction, mixed_examples()
    )
    loaded = LoadedModel(model, chat_tokenizer(), "tiny")
    return score_pairs(loaded, some, engine, settings)


def dpo(policy: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    """Rafailov et al. 2023, equation 7; log-probabilities of both answers, [2], summed."""
    ratios = policy - reference
    return -functional.logsigmoid(beta * (ratios[0] - ratios[1]))


def ipo(policy: torch.Tensor, reference: torch.Tensor, beta: float) -> torch.Tensor:
    """Azar et al. 2023, equation 17, with log-probabilities averaged over tokens as in TRL."""
    ratios = policy - reference
    return (ratios[0] - ratios[1] - 1 / (2 * beta)) ** 2


def by_autograd(
    model: PreTrainedModel, direction: Direction, pair: TokenizedPair, loss: str, beta: float
) -> float:
    """-<grad l, g> / |g| of the loss as it is written, with a frozen copy as the reference."""
    frozen = copy.deepcopy(model).requires_grad_(False)

    def likelihoods(of: PreTrainedModel) -> torch.Tensor:
        sides = (pair.chosen, pair.rejected)
        counts = torch.tensor([side.response_tokens for side in sides])
        means = torch.stack([-full_logits_loss(of, side) for side in sides])
        return means * counts if loss == "dpo" else means

    value = {"dpo": dpo, "ipo": ipo}[loss](likelihoods(model), likelihoods(frozen), beta)
    weights = [model.get_parameter(f"{name}.weight") for name in direction.tensors]
    gradients = torch.autograd.grad(value, weights)
    product = sum(
        float((one * g).sum()) for one, g in zip(gradients, direction.tensors.values(), strict=True)
    )
    return -product / direction.norm


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("engine", LINEAR_ENGINES)
def test_scores_are_those_of_the_literal_loss(engine: str, loss: str) -> None:
    model = tiny_llama()
    # The gradient of something, as those of runs are; finite differences suit a random one less.
    direction = Direction(training_direction(model, mixed_examples()[:3]), {})
    before = snapshot(model)
    # Few tokens a batch, so that sides of several pairs, and of one, are batched and are not.
    found = scores(
        model,
        direction,
        pairs(),
        engine=engine,
        preference_loss=loss,
        beta=0.3,
        batch_tokens=120,
    )
    expected = np.array([by_autograd(model, direction, pair, loss, 0.3) for pair in pairs()])
    values = np.array([found[row].fihs for row in range(len(expected))])
    typical = np.sqrt(np.mean(expected**2))
    assert typical > 0
    assert np.abs(values - expected).max() < ERROR[engine] * typical
    for row, pair in enumerate(pairs()):
        tokens = found[row].token_fihs
        assert tokens is not None
        assert len(tokens) == pair.response_tokens
        assert sum(tokens) == pytest.approx(found[row].fihs, rel=1e-6, abs=1e-9)
        loss_of_chosen = float(full_logits_loss(model, pair.chosen).detach())
        assert found[row].loss == pytest.approx(loss_of_chosen, rel=1e-4)
    assert same_weights(model, before)


def test_the_sign_follows_the_direction_of_training() -> None:
    """A step on the row against its DPO gradient changes a linear S as the score says."""
    model = tiny_llama()
    direction = random_direction(model)
    pair = pairs()[0]
    score = scores(model, direction, [pair], engine="jvp", beta=0.1)[0].fihs
    weights = {name: model.get_parameter(f"{name}.weight") for name in direction.tensors}
    start = {name: weight.detach().clone() for name, weight in weights.items()}
    sides = (pair.chosen, pair.rejected)
    policy = torch.stack([-full_logits_loss(model, s) * s.response_tokens for s in sides])
    dpo(policy, policy.detach(), 0.1).backward()  # type: ignore[no-untyped-call]
    rate = 1e-3
    with torch.no_grad():
        for weight in weights.values():
            assert weight.grad is not None
            weight -= rate * weight.grad
    moved = sum(
        float(((weights[name].detach() - start[name]) * g).sum())
        for name, g in direction.tensors.items()
    )
    assert moved / (rate * direction.norm) == pytest.approx(score, rel=2e-2)


def test_an_exchange_of_the_answers_changes_the_sign() -> None:
    model = tiny_llama()
    direction = random_direction(model)
    flipped = [TokenizedPair(pair.rejected, pair.chosen) for pair in pairs()]
    one = scores(model, direction, pairs(), engine="jvp")
    other = scores(model, direction, flipped, engine="jvp")
    for row, score in one.items():
        assert other[row].fihs == pytest.approx(-score.fihs, rel=1e-4, abs=1e-7)


def test_beta_scales_all_scores_alike() -> None:
    model = tiny_llama()
    direction = random_direction(model)
    for loss, factor in (("dpo", 5.0), ("ipo", 0.2)):
        one, five = (
            scores(model, direction, pairs(), engine="jvp", preference_loss=loss, beta=beta)
            for beta in (0.1, 0.5)
        )
        for row, score in one.items():
            assert five[row].fihs == pytest.approx(factor * score.fihs, rel=1e-6)


def test_what_both_answers_begin_with_cancels() -> None:
    model = tiny_llama()
    shared = "Total: 42 EUR "
    chosen, rejected = (chat_example(0, "Hi", shared + end) for end in ("Yes", "No. The Loire"))
    found = scores(model, random_direction(model), [TokenizedPair(chosen, rejected)], engine="jvp")
    tokens = found[0].token_fihs
    assert tokens is not None
    alike = 0
    while chosen.input_ids[alike] == rejected.input_ids[alike]:
        alike += 1
    same = alike - chosen.response_mask.index(True)
    assert same >= 3
    assert tokens[:same] == pytest.approx(
        [-token for token in tokens[chosen.response_tokens :][:same]], rel=1e-4, abs=1e-7
    )


def test_an_engine_without_tokens_has_none_for_a_pair() -> None:
    pair = combined(ExampleScore(1, 3.0, 0.5), ExampleScore(1, 1.0, 0.7), 0.05)
    assert pair == ExampleScore(1, pytest.approx(0.1), 0.5, None)


def test_progress_counts_pairs() -> None:
    model = tiny_llama()
    settings = preference_settings(ScoringSettings(engine="jvp", batch_tokens=1))
    engine = ENGINES["jvp"].prepare(model, random_direction(model), "sum", mixed_examples())
    told: list[int] = []
    loaded = LoadedModel(model, chat_tokenizer(), "tiny")
    score_pairs(loaded, pairs(), engine, settings, progress=told.append)
    assert sum(told) == len(pairs())
    assert max(told) == 1


def test_the_loss_decides_how_an_answer_is_taken_together() -> None:
    assert preference_settings(ScoringSettings()).reduction == "sum"
    assert preference_settings(ScoringSettings(preference_loss="ipo")).reduction == "mean"
    assert "DPO loss (beta 0.1)" in preference_statement(ScoringSettings())
    statement = preference_statement(ScoringSettings(preference_loss="ipo", beta=0.25))
    assert "IPO loss (beta 0.25)" in statement
    assert "a mean over" in statement


@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in LINEAR_ENGINES])
def test_engines_that_weigh_gradients_are_refused(engine: str) -> None:
    with pytest.raises(UserError, match=f"The engine {engine} cannot score preference rows"):
        preference_settings(ScoringSettings(engine=engine))
