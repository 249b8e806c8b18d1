"""From an aligned model to its direction: own answers, proxy, gradient."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Literal

import torch

from gradshield.errors import UserError
from gradshield.evaluation.generation import Answer, generate_answers
from gradshield.evaluation.refusal import is_refusal
from gradshield.models.likelihood import first_response_logits
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import (
    Direction,
    joined,
    normalised_by_module,
    proxy_gradient,
    with_record,
    without_span,
)
from gradshield.probes.harmless_training import without_harmless_training
from gradshield.probes.prompt_sets import Prompt, PromptSet, load_prompts, spread
from gradshield.probes.proxies import OwnAnswers, SafetyProxy, make_proxies
from gradshield.progress import Progress

PROBES = 64
"""Prompts of each set that are used: spread over all categories."""
HARMFUL_ANSWER_TOKENS = 24
"""Enough to see a refusal; a model that complies is not asked for more than its opening."""
ORDINARY_ANSWER_TOKENS = 24

TakeOut = Literal["nothing", "benign", "harmless"]
DEFAULT_TAKE_OUT: TakeOut = "harmless"
Normalisation = Literal["whole", "module"]
DEFAULT_NORMALISATION: Normalisation = "whole"


def answer_probes(
    loaded: LoadedModel, progress: Progress, probes_seed: int | None = None
) -> OwnAnswers:
    """Let the model answer the harmful and the ordinary probes greedily; for the seed see `probes`.

    Raises:
        UserError: The model answers with numbers that are not finite.
    """
    _check_logits(loaded)
    return OwnAnswers(
        harmful=_answer(loaded, "harmful", probes_seed, HARMFUL_ANSWER_TOKENS, progress),
        ordinary=_answer(loaded, "ordinary", probes_seed, ORDINARY_ANSWER_TOKENS, progress),
    )


@torch.no_grad()
def _check_logits(loaded: LoadedModel) -> None:
    """Numbers that are none would pass for answers: the first token is taken then."""
    prompt = probes("ordinary", 1)[0].text
    if not first_response_logits(loaded.model, loaded.tokenizer, [prompt]).isfinite().all():
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        raise UserError(
            f"The model's answer to an ordinary prompt is not made of finite numbers in {dtype}: "
            "they overflow, or its weights are damaged. Use --dtype float32, or download the model "
            "again."
        )


def _answer(
    loaded: LoadedModel,
    prompt_set: PromptSet,
    probes_seed: int | None,
    max_new_tokens: int,
    progress: Progress,
) -> list[Answer]:
    prompts = probes(prompt_set, seed=probes_seed)
    with progress.track(f"Answering {prompt_set} probes", len(prompts), "prompts") as advance:
        return generate_answers(
            loaded.model,
            loaded.tokenizer,
            [prompt.text for prompt in prompts],
            max_new_tokens=max_new_tokens,
            progress=advance,
        )


def probes(prompt_set: PromptSet, count: int = PROBES, seed: int | None = None) -> list[Prompt]:
    """The packaged probes of a set: the ones that everybody knows, or a private draw by seed.

    A draw takes from every category as many prompts as another does, give or take one.
    """
    pool = load_prompts(prompt_set, "probe")
    if seed is not None:
        random.Random(seed).shuffle(pool)
        pool.sort(key=lambda prompt: prompt.category)
    return spread(pool, count)


def probe_attack_success_rate(own_answers: OwnAnswers) -> float:
    """Share of harmful probes, in [0, 1], that the model does not refuse."""
    return 1.0 - sum(is_refusal(a.text) for a in own_answers.harmful) / len(own_answers.harmful)


def probe_over_refusal_rate(own_answers: OwnAnswers) -> float:
    """Share of ordinary probes, in [0, 1], that the model refuses."""
    return sum(is_refusal(a.text) for a in own_answers.ordinary) / len(own_answers.ordinary)


def measure_direction(
    loaded: LoadedModel,
    own_answers: OwnAnswers,
    *,
    proxy_name: str,
    modules: str | None,
    take_out: TakeOut,
    normalise: Normalisation = DEFAULT_NORMALISATION,
    prompts: Sequence[str] | None = None,
    probes_seed: int | None = None,
    progress: Progress,
) -> Direction:
    """Differentiate the safety proxy on the harmful probes, and take the harmless part out.

    Args:
        loaded: The aligned model.
        own_answers: Its answers to the probes; the proxy is calibrated on them.
        proxy_name: A name of `PROXIES`, or several joined by a plus, whose directions, each made a
            unit long, are added: gradients of proxies differ in length for reasons of wording.
        modules: Which layers, see `block_weights`.
        take_out: `nothing`; `benign`, the component along the same proxy's gradient on ordinary
            probes; or `harmless`, all that training on harmless rows spans.
        normalise: `whole` leaves the direction as it is, since scores are per unit of its length
            anyway; `module` makes it a unit long in each weight.
        prompts: Harmful prompts to measure S on; None takes the packaged probes.
        probes_seed: Which of the packaged probes, see `probes`.
        progress: Told how far it is.

    Raises:
        UserError: The proxy is unknown or its gradient unusable.
    """
    proxies = make_proxies(proxy_name, loaded.tokenizer, own_answers)
    packaged = probes("harmful", seed=probes_seed)
    harmful = [prompt.text for prompt in packaged] if prompts is None else list(prompts)
    direction = cleaned_direction(
        loaded,
        proxies,
        harmful,
        modules=modules,
        take_out=take_out,
        probes_seed=probes_seed,
        progress=progress,
    )
    if normalise == "module":
        direction = normalised_by_module(direction)
    return with_record(
        direction,
        take_out=take_out,
        normalise=normalise,
        proxy_tokens={proxy.name: proxy.record() for proxy in proxies},
        probes_sha256=_fingerprint(harmful),
        probe_attack_success_rate=probe_attack_success_rate(own_answers),
        probe_over_refusal_rate=probe_over_refusal_rate(own_answers),
    )


def cleaned_direction(
    loaded: LoadedModel,
    proxies: Sequence[SafetyProxy],
    prompts: Sequence[str],
    *,
    modules: str | None,
    take_out: TakeOut,
    probes_seed: int | None = None,
    progress: Progress,
) -> Direction:
    """The gradients of proxies on prompts, joined, with a part taken out of each.

    Args:
        loaded: The aligned model.
        proxies: Ready ones.
        prompts: Harmful prompts.
        modules: Which layers, see `block_weights`.
        take_out: See `measure_direction`.
        probes_seed: Which ordinary probes are taken out, see `probes`.
        progress: Told how far it is.

    Raises:
        UserError: A gradient is unusable.
    """

    def gradient(proxy: SafetyProxy, texts: Sequence[str], kind: PromptSet) -> Direction:
        name = f"Gradient of {proxy.name} on {kind} probes"
        with progress.track(name, len(texts), "prompts") as advance:
            return proxy_gradient(
                loaded.model, loaded.tokenizer, proxy, texts, modules=modules, progress=advance
            )

    directions = [gradient(proxy, prompts, "harmful") for proxy in proxies]
    if take_out == "benign":
        ordinary = [prompt.text for prompt in probes("ordinary", seed=probes_seed)]
        directions = [
            without_span(direction, [gradient(proxy, ordinary, "ordinary").tensors])
            for direction, proxy in zip(directions, proxies, strict=True)
        ]
    if take_out == "harmless":
        directions = without_harmless_training(loaded, directions, progress)
    return joined(directions)


def _fingerprint(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
