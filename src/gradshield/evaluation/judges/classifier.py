"""A sequence classifier as judge: one label's probability is the value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from gradshield.data.rendering import apply_template
from gradshield.errors import UserError
from gradshield.evaluation.judges.base import Exchange, answered

BATCH = 32
"""Exchanges classified at once."""


@dataclass(frozen=True)
class ClassifierJudge:
    """Judges by a text-classification model.

    Prompt and answer are joined by the tokenizer's chat template if it has one, else given as a
    pair of texts; what is longer than the model reads is cut at its end.

    Attributes:
        model: With a classification head, in evaluation mode.
        tokenizer: Its tokenizer.
        label: Position of the label that means "complied" (or "harmful", for a model of harm: on
            harmful prompts that is the same, on others it says nothing).
        model_name: Shown in the judge's name.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    label: int
    model_name: str

    @property
    def name(self) -> str:
        """`classifier:` and the model."""
        return f"classifier:{self.model_name}"

    @torch.inference_mode()
    def complied(self, exchanges: Sequence[Exchange]) -> list[float]:
        """Probability of the label for each exchange; 0.0 for an empty answer."""
        values = [0.0] * len(exchanges)
        encoded = {
            position: self._encode(exchange)
            for position, exchange in enumerate(exchanges)
            if answered(exchange)
        }
        shortest_first = sorted(encoded, key=lambda position: len(encoded[position]["input_ids"]))
        size = BATCH if self._can_pad() else 1
        for start in range(0, len(shortest_first), size):
            positions = shortest_first[start : start + size]
            found = self._probabilities([encoded[position] for position in positions])
            for position, value in zip(positions, found.tolist(), strict=True):
                values[position] = value
        return values

    def _encode(self, exchange: Exchange) -> dict[str, list[int]]:
        limit = _longest(self.model, self.tokenizer)
        options: dict[str, Any] = {"truncation": limit is not None, "max_length": limit}
        if not self.tokenizer.chat_template:
            return dict(self.tokenizer(exchange.prompt, exchange.answer, **options))
        turns = [
            {"role": "user", "content": exchange.prompt},
            {"role": "assistant", "content": exchange.answer},
        ]
        text = apply_template(self.tokenizer, turns, tokenize=False)
        return dict(self.tokenizer(text, add_special_tokens=False, **options))

    def _can_pad(self) -> bool:
        """Models that classify by the last token find it by the padding, so they must know it."""
        return self.tokenizer.pad_token is not None and (
            getattr(self.model.config, "pad_token_id", None) is not None
        )

    def _probabilities(self, encoded: Sequence[dict[str, list[int]]]) -> Tensor:
        """Probability of the label, [exchanges]."""
        if len(encoded) == 1:
            batch = {name: torch.tensor([ids]) for name, ids in encoded[0].items()}
        else:
            batch = dict(
                self.tokenizer.pad(list(encoded), padding_side="right", return_tensors="pt")
            )
        on_device = {name: ids.to(self.model.device) for name, ids in batch.items()}
        logits: Tensor = self.model(**on_device).logits.float()
        independent = self.model.config.problem_type == "multi_label_classification"
        if independent or logits.shape[-1] == 1:
            return logits[:, self.label].sigmoid()
        return logits.softmax(dim=-1)[:, self.label]


def load_classifier(name: str, label: str | int, *, device: str = "cpu") -> ClassifierJudge:
    """Load a text-classification model as judge.

    Args:
        name: A local folder or a hub name.
        label: The label that means "complied", as the model's configuration names it or by its
            number. For a model with one output it is 0, and the output's sigmoid is the value.
        device: Where it runs.

    Raises:
        UserError: The model cannot be loaded, lacks weights (a plain language model has no
            classification head), or has no such label.
    """
    load: Any = AutoModelForSequenceClassification.from_pretrained
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model, report = load(name, output_loading_info=True, use_safetensors=True)
        model = model.to(device).eval()
    except (OSError, ValueError, RuntimeError, AssertionError) as fault:
        raise UserError(
            f"The classifier {name} could not be loaded ({str(fault).splitlines()[0]}). Give a "
            "folder or hub name of a text-classification model."
        ) from fault
    if report["missing_keys"]:
        raise UserError(
            f"The classifier {name} lacks {len(report['missing_keys'])} of its weights "
            f"({min(report['missing_keys'])}): random numbers would stand in for them. Give a "
            "model that was trained for text classification."
        )
    return ClassifierJudge(
        cast(PreTrainedModel, model), tokenizer, label_position(model.config, label), name
    )


def label_position(config: Any, label: str | int) -> int:
    """Position of a label in a classifier's output.

    Raises:
        UserError: The configuration has no such label.
    """
    names = {int(position): str(name) for position, name in config.id2label.items()}
    for position, name in names.items():
        if label in (position, name, str(position)):
            return position
    raise UserError(
        f"The classifier has no label {label!r}: its labels are "
        f"{', '.join(f'{position} ({name})' for position, name in sorted(names.items()))}."
    )


def _longest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """Tokens that the model reads at most, None if neither it nor its tokenizer says so."""
    positions = getattr(model.config, "max_position_embeddings", None)
    # Unset, the tokenizer's limit is a huge number.
    limits = [positions, tokenizer.model_max_length if tokenizer.model_max_length < 1e9 else None]
    return min((int(limit) for limit in limits if limit is not None), default=None)
