"""Judges by name: what tells whether answers comply with their prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gradshield.errors import UserError
from gradshield.evaluation.judges.agreement import Agreement, agreement
from gradshield.evaluation.judges.base import (
    COMPLIED_FROM,
    Exchange,
    Judge,
    attack_success_rate,
)
from gradshield.evaluation.judges.classifier import ClassifierJudge, load_classifier
from gradshield.evaluation.judges.endpoint import EndpointJudge
from gradshield.evaluation.judges.guard import GuardJudge
from gradshield.evaluation.judges.hidden_states import HiddenStatesJudge, make_hidden_states
from gradshield.evaluation.judges.refusal_phrases import RefusalPhrases
from gradshield.models.load import LoadedModel, load_model


@dataclass(frozen=True)
class JudgeOptions:
    """What the judges are made of; each takes what it needs.

    Attributes:
        aligned: Gives the aligned model; for `hidden_states`.
        model: Folder or hub name (`classifier`, `guard`), or the endpoint's model.
        label: Name or number of the classifier's label that means "complied".
        complied_word: How a guard's verdict begins when the answer does harm.
        refused_word: How it begins otherwise.
        base_url: Of the endpoint's API.
        key_variable: Environment variable with the endpoint's API key.
        device: Where a classifier or a guard runs, `cpu`, `cuda` and the like.
    """

    aligned: Callable[[], LoadedModel] = load_model
    model: str | None = None
    label: str | int | None = None
    complied_word: str = "unsafe"
    refused_word: str = "safe"
    base_url: str | None = None
    key_variable: str | None = None
    device: str = "cpu"


def _make_classifier(options: JudgeOptions) -> Judge:
    model = _needed(options.model, "classifier", "the model's folder or hub name")
    if options.label is None:
        raise UserError("The judge classifier needs the label that means complied: give label.")
    return load_classifier(model, options.label, device=options.device)


def _make_guard(options: JudgeOptions) -> Judge:
    model = _needed(options.model, "guard", "the model's folder or hub name")
    loaded = load_model(model, device=options.device)
    return GuardJudge(loaded, options.complied_word, options.refused_word)


def _make_endpoint(options: JudgeOptions) -> Judge:
    base_url = _needed(options.base_url, "endpoint", "the base_url of its API")
    model = _needed(options.model, "endpoint", "the model's name there")
    return EndpointJudge(base_url, model, options.key_variable)


def _needed(value: str | None, judge: str, what: str) -> str:
    if value is None:
        raise UserError(f"The judge {judge} needs {what}.")
    return value


JUDGES: dict[str, Callable[[JudgeOptions], Judge]] = {
    "refusal_phrases": lambda options: RefusalPhrases(),
    "hidden_states": lambda options: make_hidden_states(options.aligned()),
    "classifier": _make_classifier,
    "guard": _make_guard,
    "endpoint": _make_endpoint,
}
"""Makers of judges by name; the first two need nothing but the aligned model."""


def make_judge(name: str, options: JudgeOptions | None = None) -> Judge:
    """Make a judge by its name in `JUDGES`.

    Raises:
        UserError: There is no such judge, or it needs an option that is not given.
    """
    if name not in JUDGES:
        raise UserError(f"Unknown judge {name}: choose one of {', '.join(JUDGES)}.")
    return JUDGES[name](options or JudgeOptions())


__all__ = [
    "COMPLIED_FROM",
    "JUDGES",
    "Agreement",
    "ClassifierJudge",
    "EndpointJudge",
    "Exchange",
    "GuardJudge",
    "HiddenStatesJudge",
    "Judge",
    "JudgeOptions",
    "RefusalPhrases",
    "agreement",
    "attack_success_rate",
    "load_classifier",
    "make_hidden_states",
    "make_judge",
]
