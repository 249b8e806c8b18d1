"""Filters: GradShield and every baseline behind one protocol, rows in, one score a row out."""

from __future__ import annotations

from dataclasses import replace

from gradshield.errors import UserError
from gradshield.filters.base import Filter, Material, Need, Row, Scores
from gradshield.filters.compliance_vector import ComplianceVector
from gradshield.filters.fihs import GRADSHIELD, ONE_TASK, PAPER
from gradshield.filters.fihs_form import read_form
from gradshield.filters.gradient_anchoring import GradientAnchoring
from gradshield.filters.gradient_norm import ModerateGradient
from gradshield.filters.guard import FORMS, GUARDS, guard_filter
from gradshield.filters.larf import Larf
from gradshield.filters.less import Less
from gradshield.filters.mean_loss import MeanLoss
from gradshield.filters.no_filter import NoFilter
from gradshield.filters.oracle import Oracle
from gradshield.filters.random_order import LengthMatchedRandom, RandomOrder
from gradshield.filters.refusal_likelihood import RefusalLikelihood
from gradshield.filters.representation_matching import RepresentationMatching
from gradshield.filters.response_length import ResponseLength
from gradshield.filters.seal import Seal
from gradshield.filters.self_influence import SelfInfluence
from gradshield.filters.task_vectors import TaskVectors
from gradshield.filters.word_lists import HarmWords, HarmWordsAnswered
from gradshield.filters.zero_shot import ZeroShotJudge

__all__ = ["FILTERS", "Filter", "Material", "Need", "Row", "Scores", "filter_by_name"]

_FILTERS: tuple[Filter, ...] = (
    NoFilter(),
    RandomOrder(),
    LengthMatchedRandom(GRADSHIELD),
    Oracle(),
    ResponseLength(),
    MeanLoss(),
    HarmWords(),
    HarmWordsAnswered(),
    ZeroShotJudge(),
    RepresentationMatching(),
    Larf(),
    ComplianceVector(),
    RefusalLikelihood(),
    GradientAnchoring(),
    Less(),
    SelfInfluence(),
    ModerateGradient(),
    Seal(),
    TaskVectors(),
    PAPER,
    GRADSHIELD,
    ONE_TASK,
)
FILTERS: dict[str, Filter] = {one.name: one for one in _FILTERS}
"""By name, in the order in which tables show them."""


def filter_by_name(name: str) -> Filter:
    """A filter of `FILTERS`, a guard, or another form of FIHS.

    Guards have the forms of `gradshield.filters.guard.FORMS`, and FIHS is varied by
    `gradshield:FIELD=VALUE,...` with the fields of `FihsForm`.

    Raises:
        UserError: There is no such filter.
    """
    if name in FILTERS:
        return FILTERS[name]
    kind, _, setting = name.partition(":")
    if kind in GUARDS:
        return guard_filter(name)
    if kind == GRADSHIELD.name:
        return replace(GRADSHIELD, name=name, form=read_form(setting))
    known = ", ".join((*FILTERS, *FORMS, "gradshield:FIELD=VALUE,..."))
    raise UserError(f"Unknown filter {name}: choose one of {known}.")
