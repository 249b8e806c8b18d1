"""From an aligned model to its direction: own answers, proxy, gradient."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from gradshield.errors import UserError
from gradshield.evaluation.generation import Answer, generate_answers
from gradshield.evaluation.refusal import is_refusal
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import (
    Direction,
    proxy_gradient,
    with_record,
    without_component,
)
from gradshield.probes.prompt_sets import Prompt, PromptSet, load_prompts, spread
from gradshield.probes.proxies import PROXIES, OwnAnswers
from gradshield.progress import Progress

PROBES = 64
"""Prompts of each set that are used: spread over all categories."""
HARMFUL_ANSWER_TOKENS = 24
"""Enough to see a refusal; a model that complies is not asked for more than its opening."""
ORDINARY_ANSWER_TOKENS = 48


def answer_probes(loaded: LoadedModel, progress: Progress) -> OwnAnswers:
    """Let the model answer the harmful and the ordinary probes greedily."""
    return OwnAnswers(
        harmful=_answer(loaded, "harmful", HARMFUL_ANSWER_TOKENS, progress),
        ordinary=_answer(loaded, "ordinary", ORDINARY_ANSWER_TOKENS, progress),
    )


def _answer(
    loaded: LoadedModel, prompt_set: PromptSet, max_new_tokens: int, progress: Progress
) -> list[Answer]:
    prompts = probes(prompt_set)
    with progress.track(f"Answering {prompt_set} probes", len(prompts), "prompts") as advance:
        return generate_answers(
            loaded.model,
            loaded.tokenizer,
            [prompt.text for prompt in prompts],
            max_new_tokens=max_new_tokens,
            progress=advance,
        )


def probes(prompt_set: PromptSet) -> list[Prompt]:
    """The packaged probes of a set."""
    return spread(load_prompts(prompt_set, "probe"), PROBES)


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
    remove_benign: bool,
    progress: Progress,
) -> Direction:
    """Differentiate the safety proxy on the harmful probes.

    Args:
        loaded: The aligned model.
        own_answers: Its answers to the probes; the proxy is calibrated on them.
        proxy_name: A name of `PROXIES`.
        modules: Regular expression over layer names, or None.
        remove_benign: Take out the component along the same proxy's gradient on ordinary probes.
        progress: Told how far it is.

    Raises:
        UserError: The proxy is unknown or its gradient unusable.
    """
    if proxy_name not in PROXIES:
        raise UserError(f"Unknown proxy {proxy_name}: choose one of {', '.join(PROXIES)}.")
    proxy = PROXIES[proxy_name](loaded.tokenizer, own_answers)
    directions: dict[PromptSet, Direction] = {}
    prompt_sets: tuple[PromptSet, ...] = ("harmful", "ordinary") if remove_benign else ("harmful",)
    for prompt_set in prompt_sets:
        texts = [prompt.text for prompt in probes(prompt_set)]
        with progress.track(f"Gradient on {prompt_set} probes", len(texts), "prompts") as advance:
            directions[prompt_set] = proxy_gradient(
                loaded.model, loaded.tokenizer, proxy, texts, modules=modules, progress=advance
            )
    direction = directions["harmful"]
    if remove_benign:
        direction = without_component(direction, directions["ordinary"])
    texts = [prompt.text for prompt in probes("harmful")]
    return with_record(
        direction,
        proxy_tokens=proxy.record(),
        probes_sha256=_fingerprint(texts),
        probe_attack_success_rate=probe_attack_success_rate(own_answers),
        probe_over_refusal_rate=probe_over_refusal_rate(own_answers),
    )


def _fingerprint(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
