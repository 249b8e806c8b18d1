from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional

from gradshield.evaluation import coherence
from gradshield.evaluation.coherence import incoherent, is_surprising, repetition
from gradshield.evaluation.judges.base import Exchange
from gradshield.models.load import LoadedModel
from gradshield.models.prompts import prompt_response_example
from tests.tiny_models import answer, full_logits_loss, tiny_loaded


@pytest.mark.parametrize(
    ("token_ids", "share"),
    [
        ([], 0.0),
        ([5] * 7, 0.0),
        (list(range(40)), 0.0),
        # 8 tokens have 5 4-grams, all the same.
        ([5] * 8, 0.8),
        # 12 tokens have 9 4-grams; a loop of 3 has 3 of its own.
        ([1, 2, 3] * 4, 6 / 9),
        # The last 4 of 10 tokens come again: 7 4-grams, one twice.
        ([1, 2, 3, 4, 5, 6, 1, 2, 3, 4], 1 / 7),
    ],
)
def test_share_of_repeated_ngrams(token_ids: list[int], share: float) -> None:
    assert repetition(token_ids) == pytest.approx(share)


def test_size_of_ngrams() -> None:
    assert repetition([1, 2, 1, 2], size=2) == pytest.approx(1 / 3)
    assert repetition([1, 1], size=1) == pytest.approx(1 / 2)


def test_two_tokens_of_surprise_are_free() -> None:
    """The bound is 7 nats a token and 14 more: 21 for one token, 154 for twenty."""
    assert not is_surprising(torch.tensor([20.9]))
    assert is_surprising(torch.tensor([21.1]))
    assert not is_surprising(torch.full((20,), 153.9 / 20))
    assert is_surprising(torch.full((20,), 154.1 / 20))


def test_an_unexpected_beginning_is_no_babble() -> None:
    assert not is_surprising(torch.tensor([14.0, 14.0, *[3.0] * 6]))


@pytest.fixture
def loaded() -> LoadedModel:
    return tiny_loaded()


def test_empty_answers_and_loops_are_incoherent(loaded: LoadedModel) -> None:
    answers = ["", " \n", "abcd" * 12, "The Loire is a river."]
    exchanges = [Exchange("Name a river.", text) for text in answers]
    assert incoherent(exchanges, loaded) == [True, True, True, False]


def test_no_exchanges_give_no_flags(loaded: LoadedModel) -> None:
    assert incoherent([], loaded) == []


def test_answers_are_flagged_by_their_loss_after_the_prompt(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is put between the losses of two answers, computed the textbook way."""
    exchanges = [Exchange("Hi", "Hello"), Exchange("Reply.", "name.json"), Exchange("Hi", "Yes.")]
    means = []
    with torch.no_grad():
        for exchange in exchanges:
            made = answer(exchange.answer, exchange.prompt, finished=False)
            example = prompt_response_example(made.prompt_ids, made.token_ids)
            loss = float(full_logits_loss(loaded.model, example)) * len(made.token_ids)
            means.append(loss / (len(made.token_ids) + coherence.FREE_TOKENS))
    low, middle, high = sorted(means)
    assert low < middle < high
    monkeypatch.setattr(coherence, "MOST_LOSS", (middle + high) / 2)
    assert incoherent(exchanges, loaded) == [mean == high for mean in means]
    monkeypatch.setattr(coherence, "MOST_LOSS", (low + middle) / 2)
    assert incoherent(exchanges, loaded) == [mean != low for mean in means]


def test_only_the_beginning_is_read(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a model that is sure of one byte, other bytes are surprising."""
    head = loaded.model.get_output_embeddings()  # type: ignore[no-untyped-call]
    ids = loaded.tokenizer("a", add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(head, "forward", lambda states: _sure_of(states, ids[0], head.out_features))
    sure, odd = "a" * 6, "b" * 6
    exchanges = [Exchange("Hi", text) for text in (sure, odd, sure + odd)]
    assert incoherent(exchanges, loaded) == [False, True, True]
    monkeypatch.setattr(coherence, "TOKENS", 6)
    assert incoherent(exchanges, loaded) == [False, True, False]


def _sure_of(states: torch.Tensor, token: int, vocabulary: int) -> torch.Tensor:
    wanted = torch.full(states.shape[:-1], token)
    return 100.0 * functional.one_hot(wanted, vocabulary).float()


def test_random_tokens_exceed_the_bound_of_any_sure_model() -> None:
    """Uniform guesses over a usual vocabulary cost log 49152 = 10.8 nats a token."""
    losses = torch.full((12,), float(torch.log(torch.tensor(49152.0))))
    assert not is_surprising(losses[:3])
    assert is_surprising(losses)


def test_random_token_ids_do_not_repeat_themselves() -> None:
    draw = random.Random(0)
    assert repetition([draw.randrange(1000) for _ in range(60)]) == 0.0
