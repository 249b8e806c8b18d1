"""Filters: GradShield and every baseline behind one protocol, rows in, one score a row out."""

from __future__ import annotations

from gradshield.filters.base import Filter, Material, Need, Row, Scores
from gradshield.filters.compliance_vector import ComplianceVector
from gradshield.filters.fihs import GRADSHIELD, PAPER
from gradshield.filters.gradient_anchoring import GradientAnchoring
from gradshield.filters.gradient_norm import ModerateGradient
from gradshield.filters.larf import Larf
from gradshield.filters.less import Less
from gradshield.filters.mean_loss import MeanLoss
from gradshield.filters.no_filter import NoFilter
from gradshield.filters.oracle import Oracle
from gradshield.filters.random_order import LengthMatchedRandom, RandomOrder
from gradshield.filters.refusal_likelihood import RefusalLikelihood
from gradshield.filters.representation_matching import RepresentationMatching
from gradshield.filters.self_influence import SelfInfluence
from gradshield.filters.word_lists import HarmWords, HarmWordsAnswered
from gradshield.filters.zero_shot import ZeroShotJudge

__all__ = ["FILTERS", "Filter", "Material", "Need", "Row", "Scores"]

_FILTERS: tuple[Filter, ...] = (
    NoFilter(),
    RandomOrder(),
    LengthMatchedRandom(GRADSHIELD),
    Oracle(),
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
    PAPER,
    GRADSHIELD,
)
FILTERS: dict[str, Filter] = {one.name: one for one in _FILTERS}
"""By name, in the order in which tables show them."""
