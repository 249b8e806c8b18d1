"""Is a model fit for scoring? Each finding says what was seen and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gradshield.data import TokenizedExample
from gradshield.evaluation.refusal import is_refusal
from gradshield.models.likelihood import response_token_losses
from gradshield.models.load import LoadedModel
from gradshield.probes.calibration import (
    answer_probes,
    probe_attack_success_rate,
    probe_over_refusal_rate,
)
from gradshield.probes.proxies import OwnAnswers
from gradshield.progress import Progress
from gradshield.run.health import health_warnings
from gradshield.scoring.reference import reference_examples

Verdict = Literal["OK", "MINOR", "MAJOR"]
BATCH_TOLERANCE = 1e-3
"""Relative difference of a row's loss alone and in a batch that still counts as rounding."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    verdict: Verdict
    subject: str
    text: str


def check_model(loaded: LoadedModel, progress: Progress) -> list[Finding]:
    """Check alignment, first tokens, template and batching of a model."""
    answers = answer_probes(loaded, progress)
    return [
        _template(loaded),
        *_alignment(answers),
        _first_tokens(loaded, answers),
        _batching(loaded, reference_examples(loaded, answers)),
    ]


def _template(loaded: LoadedModel) -> Finding:
    tokenizer = loaded.tokenizer
    turns = [{"role": "user", "content": "Name a river."}]
    text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    bos = tokenizer.bos_token_id
    if bos is not None and list(ids[:2]) == [bos, bos]:
        return Finding("MAJOR", "template", "it puts two BOS tokens in front: remove one from it.")
    return Finding("OK", "template", f"a question renders to {len(ids)} tokens: {text!r}")


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


def _batching(loaded: LoadedModel, examples: Sequence[TokenizedExample]) -> Finding:
    """Compare the losses of short and long rows alone and in one mixed batch."""
    by_length = sorted(examples, key=lambda example: len(example.input_ids))
    mixed = [*by_length[:3], *by_length[-3:]]
    together = [float(losses.mean()) for losses in response_token_losses(loaded.model, mixed)]
    alone = [float(response_token_losses(loaded.model, [one])[0].mean()) for one in mixed]
    difference = max(abs(a - b) / abs(a) for a, b in zip(alone, together, strict=True))
    if difference <= BATCH_TOLERANCE:
        return Finding("OK", "batching", "a row scores the same alone and in a mixed batch.")
    cause = _batching_cause(loaded)
    return Finding(
        "MAJOR",
        "batching",
        f"a row's loss differs by {difference:.1%} alone and in a mixed batch; {cause}",
    )


def _batching_cause(loaded: LoadedModel) -> str:
    if str(loaded.model.dtype) != "torch.float32":
        return f"likely rounding in {loaded.model.dtype}: use --dtype float32."
    kernel = getattr(loaded.model.config, "_attn_implementation", "unknown")
    return f"likely padding seen by the attention kernel {kernel}: use --batch-tokens 1."
