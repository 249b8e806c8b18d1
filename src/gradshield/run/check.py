"""Is a model fit for scoring? Each finding says what was seen and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from gradshield.config import ScoringSettings
from gradshield.data import TokenizedExample
from gradshield.data.rendering import apply_template
from gradshield.evaluation.refusal import is_refusal
from gradshield.models.likelihood import response_token_losses
from gradshield.models.load import LoadedModel
from gradshield.models.usable import named_tokens, unknown_tokens
from gradshield.probes.calibration import (
    answer_probes,
    probe_attack_success_rate,
    probe_over_refusal_rate,
    probes,
)
from gradshield.probes.direction import Direction, proxy_gradient
from gradshield.probes.prompt_sets import spread
from gradshield.probes.proxies import DEFAULT_PROXY, PROXIES, OwnAnswers
from gradshield.progress import Progress
from gradshield.run.health import health_warnings
from gradshield.scoring.engines import PreparedEngine
from gradshield.scoring.reference import is_guessing, random_loss, reference_examples
from gradshield.scoring.score import prepare_engine

Verdict = Literal["OK", "MINOR", "MAJOR"]
BATCH_TOLERANCE = 5e-3
"""Difference of a score alone and in a batch, relative to the largest, that counts as rounding."""
ROUGH_PROBES = 8
PREDICTED_ROWS = 8


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    verdict: Verdict
    subject: str
    text: str


def check_model(loaded: LoadedModel, progress: Progress) -> list[Finding]:
    """Check template, vocabulary, predictions, alignment, first tokens and batching of a model."""
    answers = answer_probes(loaded, progress)
    return [
        _template(loaded),
        _vocabulary(loaded),
        _predictions(loaded),
        *_alignment(answers),
        _first_tokens(loaded, answers),
        _batching(loaded, answers, progress),
    ]


def _template(loaded: LoadedModel) -> Finding:
    tokenizer = loaded.tokenizer
    turns = [{"role": "user", "content": "Name a river."}]
    text = str(apply_template(tokenizer, turns, tokenize=False, add_generation_prompt=True))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    bos = tokenizer.bos_token_id
    if bos is not None and list(ids[:2]) == [bos, bos]:
        return Finding("MAJOR", "template", "it puts two BOS tokens in front: remove one from it.")
    return Finding("OK", "template", f"a question renders to {len(ids)} tokens: {text!r}")


def _vocabulary(loaded: LoadedModel) -> Finding:
    unknown = unknown_tokens(loaded.model, loaded.tokenizer)
    if not unknown:
        return Finding("OK", "vocabulary", "the model has an embedding for each token.")
    return Finding(
        "MINOR",
        "vocabulary",
        f"the model has no embedding for {len(unknown)} added tokens ({named_tokens(unknown)}): "
        "rows that spell one are rejected.",
    )


@torch.no_grad()
def _predictions(loaded: LoadedModel) -> Finding:
    """Whether weights, tokenizer and adapter belong together, by the loss of a few plain rows."""
    rows = spread(reference_examples(loaded), PREDICTED_ROWS)
    losses = torch.cat(response_token_losses(loaded.model, rows))
    loss = float(losses.mean())
    figures = (
        f"loss {loss:.1f} on harmless rows, {random_loss(loaded):.1f} by drawing tokens at random"
    )
    if not is_guessing(loaded, loss):
        return Finding("OK", "predictions", f"{figures}.")
    return Finding(
        "MAJOR",
        "predictions",
        f"{figures}: the model's weights, tokenizer or adapter belong to different models, or its "
        "numbers overflow (--dtype float32).",
    )


def _alignment(answers: OwnAnswers) -> list[Finding]:
    warnings = health_warnings(answers)
    if warnings:
        return [Finding("MAJOR", "alignment", warning) for warning in warnings]
    return [
        Finding(
            "OK",
            "alignment",
            f"answers {probe_attack_success_rate(answers):.0%} of the harmful probes and refuses "
            f"{probe_over_refusal_rate(answers):.0%} of the ordinary ones.",
        )
    ]


def _first_tokens(loaded: LoadedModel, answers: OwnAnswers) -> Finding:
    refusals = [answer for answer in answers.harmful if is_refusal(answer.text)]
    counts = Counter(answer.token_ids[0] for answer in refusals)
    shown = ", ".join(
        f"{loaded.tokenizer.decode([token])!r} {count / len(refusals):.0%}"
        for token, count in counts.most_common(5)
    )
    return Finding("OK", "refusals", f"open with {shown}." if shown else "the model has none.")


def _batching(loaded: LoadedModel, answers: OwnAnswers, progress: Progress) -> Finding:
    """Score short and long rows alone and in one mixed batch, by the direction of a few probes."""
    by_length = sorted(reference_examples(loaded), key=lambda example: len(example.input_ids))
    mixed = [*by_length[:3], *by_length[-3:]]
    direction = _rough_direction(loaded, answers)
    engine = prepare_engine(loaded, direction, ScoringSettings(), progress)
    alone = _scores(engine, [[example] for example in mixed])
    difference = _relative_difference(alone, _scores(engine, [mixed]))
    if difference <= BATCH_TOLERANCE:
        return Finding("OK", "batching", "a row scores the same alone and in a mixed batch.")
    # Copies of one row need no padding: if they differ too, padding is not the cause.
    twins = _relative_difference(_scores(engine, [mixed[:1]]), _scores(engine, [mixed[:1] * 2]))
    cause = (
        f"rounding in {loaded.model.dtype}: use --dtype float32."
        if not twins <= BATCH_TOLERANCE  # NaN too: an overflow is a matter of precision
        else "padding that the attention kernel sees: use --batch-tokens 1."
    )
    return Finding(
        "MAJOR",
        "batching",
        f"a row's score differs by {difference:.1%} alone and in a mixed batch; the cause is "
        f"{cause}",
    )


def _rough_direction(loaded: LoadedModel, answers: OwnAnswers) -> Direction:
    proxy = PROXIES[DEFAULT_PROXY](loaded.tokenizer, answers)
    texts = [prompt.text for prompt in probes("harmful")[:ROUGH_PROBES]]
    return proxy_gradient(loaded.model, loaded.tokenizer, proxy, texts)


def _scores(
    engine: PreparedEngine, batches: Sequence[Sequence[TokenizedExample]]
) -> dict[int, float]:
    scores = [score for batch in batches for score in engine.score(batch)]
    return {score.row: score.fihs for score in scores}


def _relative_difference(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Largest difference of a score, relative to the largest score."""
    largest = max(abs(value) for value in one.values())
    return max(abs(one[row] - other[row]) for row in one) / largest
