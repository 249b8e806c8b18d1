"""Everything that can be varied about FIHS, for ablations.

By name, as in `gradshield:proxy=first_token,probes=8`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, ValidationError

from gradshield.config import ScoringSettings, first_problem
from gradshield.errors import UserError
from gradshield.filters.base import Material
from gradshield.filters.exchanges import last_exchange
from gradshield.finetuning.supervised import LoraSettings, TrainingSettings, finetune
from gradshield.models.low_rank import cut_to_rank
from gradshield.models.restored import weights_restored
from gradshield.probes.calibration import PROBES, measure_direction, probes
from gradshield.probes.direction import Direction
from gradshield.probes.prompt_sets import spread
from gradshield.scoring.engines import ExampleScore
from gradshield.scoring.engines.base import reduced
from gradshield.shield import GradShield

WARM_UP = TrainingSettings(
    learning_rate=1e-4, batch_size=4, micro_batch_size=4, warmup_steps=2, lora=LoraSettings()
)
"""A short one, on the harmless rows of the material."""


class FihsForm(ScoringSettings):
    """A form of FIHS: the settings that users have, and those that only ablations vary.

    Attributes:
        probes: Harmful prompts on which S is measured; by default at most 64.
        probe_source: `packaged`, or `anchors`, the harmful prompts that all filters may use.
        first_tokens: Only so many leading response tokens of a row count; None counts all.
        rank: The direction is cut to so many directions in each matrix; None leaves it whole.
        warm_up: Whether gradients are taken after a short training on harmless rows.
    """

    probes: int = Field(default=PROBES, ge=1)
    probe_source: Literal["packaged", "anchors"] = "packaged"
    first_tokens: int | None = Field(default=None, ge=1)
    rank: int | None = Field(default=None, ge=1)
    warm_up: bool = False

    def scoring(self) -> ScoringSettings:
        """The part that users have."""
        names = ScoringSettings.model_fields
        return ScoringSettings(**self.model_dump(include=set(names)))


def read_form(text: str) -> FihsForm:
    """Read `FIELD=VALUE,FIELD=VALUE`; fields that are not named keep their defaults.

    Raises:
        UserError: There is no field, one is unknown or named twice, or a value is missing or cannot
            be; the text names it.
    """
    try:
        return FihsForm.model_validate(_named_values(text))
    except ValidationError as fault:
        raise _unreadable(first_problem(fault)) from fault


def _named_values(text: str) -> dict[str, str]:
    if not text:
        raise _unreadable("Nothing follows the colon: write FIELD=VALUE, or leave the colon out")
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not (name and equals):
            raise _unreadable(f"Cannot read '{part}': write FIELD=VALUE, with a comma between two")
        if name in found:
            raise _unreadable(f"{name}: named twice")
        found[name] = value
    return found


def _unreadable(reason: str) -> UserError:
    return UserError(f"{reason}. The fields are {', '.join(FihsForm.model_fields)}.")


@contextmanager
def form_model(form: FihsForm, material: Material) -> Iterator[None]:
    """The model on which a form takes its gradients; afterwards it is the aligned one again."""
    if not form.warm_up:
        yield
        return
    loaded = material.loaded
    rows = [row.example for row in material.harmless]
    with weights_restored(loaded.model):
        finetune(loaded.model, loaded.tokenizer, rows, WARM_UP, progress=material.progress)
        yield


def form_direction(form: FihsForm, material: Material) -> Direction:
    """The direction of a form."""
    loaded = material.loaded
    shield = GradShield(
        loaded.model, loaded.tokenizer, scoring=form.scoring(), progress=material.progress
    )
    direction = measure_direction(
        loaded,
        shield.own_answers,
        proxy_name=form.proxy,
        modules=form.modules,
        take_out=form.take_out,
        normalise=form.normalise,
        prompts=_probe_prompts(form, material),
        progress=material.progress,
    )
    return direction if form.rank is None else _cut(direction, form.rank)


def _probe_prompts(form: FihsForm, material: Material) -> list[str]:
    """The harmful probes of a form.

    Raises:
        UserError: There are fewer than were asked for; of the default number, all are taken.
    """
    if form.probe_source == "anchors":
        texts = [last_exchange(row.conversation).prompt for row in material.harmful]
        found = spread(texts, form.probes)
    else:
        found = [prompt.text for prompt in probes("harmful", form.probes, form.probes_seed)]
    if "probes" in form.model_fields_set and len(found) < form.probes:
        raise UserError(
            f"probes={form.probes} asks for more than the {len(found)} {form.probe_source} probes "
            f"that there are: write probes={len(found)}, or fewer."
        )
    return found


def _cut(direction: Direction, rank: int) -> Direction:
    factors = cut_to_rank(direction.tensors, rank).factors
    return replace(direction, tensors={name: b @ a for name, (a, b) in factors.items()})


def first_tokens_only(score: ExampleScore, form: FihsForm) -> float:
    """The score, or what it would be were the leading response tokens all that count.

    Raises:
        ValueError: The engine does not see tokens.
    """
    if form.first_tokens is None:
        return score.fihs
    if score.token_fihs is None:
        raise ValueError("first_tokens needs an engine that scores by tokens")
    leading = torch.tensor(score.token_fihs[: form.first_tokens], dtype=torch.float64)
    return reduced(leading, form.reduction)
