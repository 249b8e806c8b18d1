"""Each proxy against an independent computation on a tiny model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from transformers import PreTrainedModel

from gradshield.errors import UserError
from gradshield.evaluation.refusal import is_refusal
from gradshield.models.prompts import prompt_token_ids
from gradshield.probes.proxies import DEFAULT_PROXY, PROXIES, OwnAnswers, make_proxies
from gradshield.probes.proxies.contrast import Contrast, make_contrast
from gradshield.probes.proxies.first_token import FirstToken, make_first_token
from gradshield.probes.proxies.past_refusal import PastRefusal, make_past_refusal
from gradshield.probes.proxies.token_sets import TokenSets, make_token_sets
from gradshield.probes.wordings import (
    COMPLIANT_OPENINGS,
    SECOND_REFUSALS,
    SHORT_REFUSALS,
    TURNS_TO_COMPLIANCE,
)
from tests.tiny_models import answer, chat_tokenizer, tiny_llama

PROMPTS = ["Name a river.", "Hi", "Reply as file, and say why you chose this name."]
NO_ANSWERS = OwnAnswers(harmful=[], ordinary=[])


def token(text: str) -> int:
    first: int = chat_tokenizer()(text, add_special_tokens=False)["input_ids"][0]
    return first


def tokens(text: str) -> tuple[int, ...]:
    return tuple(chat_tokenizer()(text, add_special_tokens=False)["input_ids"])


@torch.no_grad()
def all_logits(model: PreTrainedModel, ids: Sequence[int]) -> np.ndarray:
    found: np.ndarray = model(torch.tensor([list(ids)])).logits[0].double().numpy()
    return found


def first_logits(model: PreTrainedModel, prompt: str) -> np.ndarray:
    return all_logits(model, prompt_token_ids(chat_tokenizer(), prompt))[-1]


def mean_log_probability(
    model: PreTrainedModel, prompt: str, opening: Sequence[int], said: Sequence[int] = ()
) -> float:
    """Of the opening's tokens, from one sequence alone; `said` is what the answer begins with."""
    prompt_ids = [*prompt_token_ids(chat_tokenizer(), prompt), *said]
    log_probabilities = log_softmax(all_logits(model, [*prompt_ids, *opening]), axis=1)
    start = len(prompt_ids) - 1
    return float(
        np.mean([log_probabilities[start + step, token] for step, token in enumerate(opening)])
    )


def values(
    proxy: FirstToken | TokenSets | Contrast, model: PreTrainedModel, prompts: list[str]
) -> list[float]:
    with torch.no_grad():
        found: list[float] = proxy.values(model, chat_tokenizer(), prompts).tolist()
        return found


def test_first_token_is_a_difference_of_logits() -> None:
    model = tiny_llama()
    found = values(FirstToken(compliant=70, refusing=71), model, PROMPTS)
    rows = [first_logits(model, prompt) for prompt in PROMPTS]
    assert found == pytest.approx([row[70] - row[71] for row in rows], abs=1e-4)


def test_first_token_compares_sure_with_i() -> None:
    proxy = make_first_token(chat_tokenizer(), NO_ANSWERS)
    assert proxy.record() == {"compliant": token("Sure"), "refusing": token("I")}


def test_token_sets_compares_log_sums() -> None:
    model = tiny_llama()
    found = values(TokenSets(compliant=(70, 72, 75), refusing=(71, 90)), model, PROMPTS)
    rows = [first_logits(model, prompt) for prompt in PROMPTS]
    expected = [logsumexp(row[[70, 72, 75]]) - logsumexp(row[[71, 90]]) for row in rows]
    assert found == pytest.approx(expected, abs=1e-4)


def test_token_sets_learn_from_the_models_own_answers() -> None:
    own = OwnAnswers(
        harmful=[answer("zero is my answer. I can't help with that.")] * 2
        + [answer("quick: do this")],
        ordinary=[
            answer("quick answer"),
            answer("zero is the answer"),
            answer("", finished=False),
        ],
    )
    proxy = make_token_sets(chat_tokenizer(), own)
    # z opens two refusals and one compliant answer, q opens compliant answers alone.
    assert token("z") in proxy.refusing
    assert token("q") in proxy.compliant
    assert not set(proxy.refusing) & set(proxy.compliant)
    assert token("I") in proxy.refusing
    assert token("1") in proxy.compliant
    assert proxy.record() == {"compliant": list(proxy.compliant), "refusing": list(proxy.refusing)}


@pytest.mark.parametrize(
    ("refusals", "compliant", "side"),
    [(1, 2, "compliant"), (2, 1, "refusing"), (1, 1, "refusing"), (0, 0, "neither")],
)
def test_a_contested_token_goes_where_the_model_uses_it_more(
    refusals: int, compliant: int, side: str
) -> None:
    own = OwnAnswers(
        harmful=[answer("zero: I can't help with that.")] * refusals,
        ordinary=[answer("zero is less than one")] * compliant,
    )
    proxy = make_token_sets(chat_tokenizer(), own)
    place = {
        (True, False): "compliant",
        (False, True): "refusing",
        (False, False): "neither",
    }[token("z") in proxy.compliant, token("z") in proxy.refusing]
    assert place == side


def test_a_common_refusing_opener_changes_sides_only_where_the_model_complies_with_it() -> None:
    own = OwnAnswers(harmful=[], ordinary=[answer("I like rivers.")])
    assert token("I") in make_token_sets(chat_tokenizer(), own).compliant
    # Bytes in place of words: S opens both Sorry and Sure, and without answers refusing wins.
    assert token("Sorry") == token("Sure")
    assert token("S") in make_token_sets(chat_tokenizer(), NO_ANSWERS).refusing


@pytest.mark.parametrize("first", [0, 4])
def test_contrast_compares_openings_that_prompts_take_in_turn(first: int) -> None:
    model = tiny_llama()
    compliant = (tokens("Sure, here"), tokens("Yes."), tokens("To do this, start by"))
    refusing = (tokens("I can't."), tokens("Sorry, no, never, not in a hundred years."))
    proxy = Contrast(compliant, refusing)
    with torch.no_grad():
        found = proxy.values(model, chat_tokenizer(), PROMPTS, first).tolist()
    expected = [
        mean_log_probability(model, prompt, compliant[place % 3])
        - mean_log_probability(model, prompt, refusing[place % 2])
        for place, prompt in enumerate(PROMPTS, start=first)
    ]
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_prompts_value_does_not_depend_on_its_neighbours() -> None:
    model = tiny_llama()
    for name, make in PROXIES.items():
        proxy = make(chat_tokenizer(), NO_ANSWERS)
        assert proxy.name == name
        with torch.no_grad():
            together = proxy.values(model, chat_tokenizer(), PROMPTS).tolist()
            alone = [
                float(proxy.values(model, chat_tokenizer(), [one], place))
                for place, one in enumerate(PROMPTS)
            ]
        assert together == pytest.approx(alone, abs=1e-4)


def test_contrast_compares_packaged_openings_whatever_the_model_says() -> None:
    own = OwnAnswers(harmful=[answer("I can't help with this.")], ordinary=[answer("The Loire.")])
    for answers in (own, NO_ANSWERS):
        proxy = make_contrast(chat_tokenizer(), answers)
        assert proxy.compliant == tuple(tokens(text) for text in COMPLIANT_OPENINGS)
        assert proxy.refusing == tuple(tokens(text) for text in SHORT_REFUSALS)
        assert proxy.record()["refusing"][0] == list(tokens(SHORT_REFUSALS[0]))
    assert all(is_refusal(text) for text in SHORT_REFUSALS)


@pytest.mark.parametrize("first", [0, 5])
def test_past_refusal_compares_what_follows_a_refusal(first: int) -> None:
    model = tiny_llama()
    refusals = (tokens("I can't."), tokens("No, I will not do this."))
    turns = (tokens(" But"), tokens(" Still, here it is:"), tokens(" Anyway."))
    second_refusals = (tokens(" Ask me another thing."), tokens(" Never."))
    proxy = PastRefusal(refusals, turns, second_refusals)
    with torch.no_grad():
        found = proxy.values(model, chat_tokenizer(), PROMPTS, first).tolist()
    expected = []
    for place, prompt in enumerate(PROMPTS, start=first):
        said = refusals[place % 2]
        turned = mean_log_probability(model, prompt, turns[place % 3], said)
        expected.append(
            turned - mean_log_probability(model, prompt, second_refusals[place % 2], said)
        )
    assert found == pytest.approx(expected, abs=1e-4)
    assert min(abs(one) for one in expected) > 1e-2


def test_what_follows_a_refusal_is_packaged_whatever_the_model_says() -> None:
    own = OwnAnswers(harmful=[answer("I can't help with this.")], ordinary=[answer("The Loire.")])
    for answers in (own, NO_ANSWERS):
        proxy = make_past_refusal(chat_tokenizer(), answers)
        # As it stands after a full stop: with the space before it.
        decoded = {
            part: [chat_tokenizer().decode(ids) for ids in some]
            for part, some in proxy.record().items()
        }
        assert decoded == {
            "refusals": list(SHORT_REFUSALS),
            "turns": [f" {text}" for text in TURNS_TO_COMPLIANCE],
            "second_refusals": [f" {text}" for text in SECOND_REFUSALS],
        }


def test_proxies_are_made_in_the_order_of_their_names() -> None:
    found = make_proxies("past_refusal+first_token", chat_tokenizer(), NO_ANSWERS)
    assert [proxy.name for proxy in found] == ["past_refusal", "first_token"]
    [alone] = make_proxies("contrast", chat_tokenizer(), NO_ANSWERS)
    assert alone == make_contrast(chat_tokenizer(), NO_ANSWERS)


def test_the_default_looks_at_the_opening_and_may_be_joined_by_what_follows_a_refusal() -> None:
    [alone] = make_proxies(DEFAULT_PROXY, chat_tokenizer(), NO_ANSWERS)
    assert type(alone) is Contrast
    both = make_proxies(f"{DEFAULT_PROXY}+past_refusal", chat_tokenizer(), NO_ANSWERS)
    assert [type(proxy) for proxy in both] == [Contrast, PastRefusal]


@pytest.mark.parametrize(
    ("names", "unknown"),
    [
        ("loss", "loss"),
        ("contrast+loss", "loss"),
        ("contrast+", ""),
        ("", ""),
        ("contrast, past_refusal", "contrast, past_refusal"),
    ],
)
def test_an_unknown_proxy_is_named_with_the_known_ones(names: str, unknown: str) -> None:
    known = ", ".join(PROXIES)
    with pytest.raises(UserError, match=f"Unknown proxy {unknown}: choose one of {known}, or"):
        make_proxies(names, chat_tokenizer(), NO_ANSWERS)
