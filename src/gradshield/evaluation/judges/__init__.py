"""Judges by name: what tells whether answers comply with their prompts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

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

KEY_VARIABLE = "GRADSHIELD_JUDGE_KEY"
"""Environment variable with the API key of an endpoint; unset, no key is sent."""
_ENDPOINT = re.compile(r"(?P<model>.+?)@(?P<url>https?://.+)")


def _refusal_phrases(setting: str, aligned: LoadedModel) -> Judge:
    return RefusalPhrases()


def _hidden_states(setting: str, aligned: LoadedModel) -> Judge:
    return make_hidden_states(aligned)


def _classifier(setting: str, aligned: LoadedModel) -> Judge:
    model, _, label = setting.rpartition(":")
    if not model or not label:
        raise _unclear("classifier", setting)
    return load_classifier(model, label, device=str(aligned.model.device))


def _guard(setting: str, aligned: LoadedModel) -> Judge:
    if not setting:
        raise _unclear("guard", setting)
    return GuardJudge(load_model(setting, device=str(aligned.model.device)))


def _endpoint(setting: str, aligned: LoadedModel) -> Judge:
    found = _ENDPOINT.fullmatch(setting)
    if found is None:
        raise _unclear("endpoint", setting)
    key_variable = KEY_VARIABLE if KEY_VARIABLE in os.environ else None
    return EndpointJudge(found["url"], found["model"], key_variable)


JUDGES: dict[str, Callable[[str, LoadedModel], Judge]] = {
    "refusal_phrases": _refusal_phrases,
    "hidden_states": _hidden_states,
    "classifier": _classifier,
    "guard": _guard,
    "endpoint": _endpoint,
}
"""Makers of judges by name, from what follows the name and the aligned model."""
FORMS: dict[str, str] = {
    "refusal_phrases": "refusal_phrases",
    "hidden_states": "hidden_states",
    "classifier": "classifier:MODEL:LABEL",
    "guard": "guard:MODEL",
    "endpoint": "endpoint:MODEL@URL",
}
"""How each judge is asked for."""


def make_judge(name: str, aligned: LoadedModel) -> Judge:
    """Make a judge by its name, in one of the `FORMS`.

    Args:
        name: The name in `JUDGES`, and after a colon what the judge needs: a folder or hub name
            and the label that means "complied"; or the endpoint's model and base URL.
        aligned: The aligned model before finetuning, which `hidden_states` reads with; other
            models are put on its device.

    Raises:
        UserError: There is no such judge, or what it needs is missing or cannot be had.
    """
    kind, _, setting = name.partition(":")
    if kind not in JUDGES or (setting and FORMS[kind] == kind):
        raise UserError(f"Unknown judge {name}: choose one of {', '.join(FORMS.values())}.")
    return JUDGES[kind](setting, aligned)


def _unclear(kind: str, setting: str) -> UserError:
    return UserError(f"The judge {kind}:{setting} is incomplete: write {FORMS[kind]}.")


__all__ = [
    "COMPLIED_FROM",
    "FORMS",
    "JUDGES",
    "Agreement",
    "ClassifierJudge",
    "EndpointJudge",
    "Exchange",
    "GuardJudge",
    "HiddenStatesJudge",
    "Judge",
    "RefusalPhrases",
    "agreement",
    "attack_success_rate",
    "load_classifier",
    "make_hidden_states",
    "make_judge",
]
