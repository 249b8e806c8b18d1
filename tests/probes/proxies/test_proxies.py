"""Each proxy against an independent computation on a tiny model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from transformers import PreTrainedModel

from gradshield.models.prompts import prompt_token_ids
from gradshield.probes.proxies import DEFAULT_PROXY, PROXIES, OwnAnswers
from gradshield.probes.proxies.contrast import (
    COMPLIANT_OPENINGS,
    OPENING_TOKENS,
    OWN_REFUSALS,
    PACKAGED_REFUSALS,
    Contrast,
    make_contrast,
)
from gradshield.probes.proxies.first_token import FirstToken, make_first_token
from gradshield.probes.proxies.token_sets import TokenSets, make_token_sets
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


def mean_log_probability(model: PreTrainedModel, prompt: str, opening: Sequence[int]) -> float:
    """Of the opening's tokens, from one sequence alone."""
    prompt_ids = prompt_token_ids(chat_tokenizer(), prompt)
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


def test_contrast_compares_openings_sequence_by_sequence() -> None:
    model = tiny_llama()
    compliant = (tokens("Sure, here"), tokens("Yes."), tokens("To do this, start by"))
    refusing = (tokens("I can't."), tokens("Sorry, no, never, not in a hundred years."))
    proxy = Contrast(compliant, refusing, pairs=1)
    expected = []
    for prompt in PROMPTS:
        turn = sum(prompt.encode())
        expected.append(
            mean_log_probability(model, prompt, compliant[turn % 3])
            - mean_log_probability(model, prompt, refusing[turn % 2])
        )
    assert values(proxy, model, PROMPTS) == pytest.approx(expected, abs=1e-4)


def test_contrast_averages_over_several_pairs() -> None:
    model = tiny_llama()
    compliant = (tokens("Sure, here"), tokens("Yes."))
    refusing = (tokens("I can't."), tokens("Sorry, no."))
    expected = [
        np.mean([mean_log_probability(model, prompt, opening) for opening in compliant])
        - np.mean([mean_log_probability(model, prompt, opening) for opening in refusing])
        for prompt in PROMPTS
    ]
    # Two pairs of two openings: all of them.
    found = values(Contrast(compliant, refusing, pairs=2), model, PROMPTS)
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_prompts_value_does_not_depend_on_its_neighbours() -> None:
    model = tiny_llama()
    for name, make in PROXIES.items():
        proxy = make(chat_tokenizer(), NO_ANSWERS)
        assert proxy.name == name
        with torch.no_grad():
            together = proxy.values(model, chat_tokenizer(), PROMPTS).tolist()
            alone = [float(proxy.values(model, chat_tokenizer(), [one])) for one in PROMPTS]
        assert together == pytest.approx(alone, abs=1e-4)


def test_contrast_learns_the_models_own_refusals_cut_short() -> None:
    long_refusal = "I can't help with that, and I shall not be talked into it."
    own = OwnAnswers(
        harmful=[
            answer("I can't help with this."),
            answer("Sure, here is how."),
            answer(long_refusal),
            answer("I can't help with this."),
            answer("Sorry, I can't do that."),
            answer("I must decline."),
        ],
        ordinary=[answer("I cannot assist with rivers.")],
    )
    proxy = make_contrast(chat_tokenizer(), own)
    refusals = [own.harmful[place].token_ids for place in (0, 2, 4, 5)]
    # All open alike within the limit count once: bytes make both long ones begin the same.
    cut = list(dict.fromkeys(ids[:OPENING_TOKENS] for ids in refusals))
    packaged = [tokens(text) for text in PACKAGED_REFUSALS]
    assert list(proxy.refusing) == (cut if len(cut) >= 4 else cut + packaged)
    assert proxy.compliant == tuple(tokens(text) for text in COMPLIANT_OPENINGS)


def test_contrast_keeps_a_limited_number_of_refusals() -> None:
    # Twenty refusals that differ in their first tokens.
    own = OwnAnswers(
        harmful=[answer(f"{number} times no: I can't help with that.") for number in range(20)],
        ordinary=[],
    )
    proxy = make_contrast(chat_tokenizer(), own)
    assert len(proxy.refusing) == OWN_REFUSALS
    assert proxy.refusing[0] == own.harmful[0].token_ids[:OPENING_TOKENS]


def test_contrast_falls_back_on_packaged_refusals() -> None:
    proxy = make_contrast(chat_tokenizer(), OwnAnswers(harmful=[answer("Sure.")], ordinary=[]))
    assert proxy.refusing == tuple(tokens(text) for text in PACKAGED_REFUSALS)
    assert proxy.record()["refusing"][0] == list(tokens(PACKAGED_REFUSALS[0]))


def test_the_default_proxy_exists() -> None:
    assert DEFAULT_PROXY in PROXIES
