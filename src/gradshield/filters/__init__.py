"""Filters: GradShield and every baseline behind one protocol, rows in, one score a row out."""

from __future__ import annotations

from gradshield.filters.base import Filter, Material, Need, Row, Scores
from gradshield.filters.fihs import GRADSHIELD, PAPER
from gradshield.filters.mean_loss import MeanLoss
from gradshield.filters.no_filter import NoFilter
from gradshield.filters.oracle import Oracle
from gradshield.filters.random_order import LengthMatchedRandom, RandomOrder

__all__ = ["FILTERS", "Filter", "Material", "Need", "Row", "Scores"]

_FILTERS: tuple[Filter, ...] = (
    NoFilter(),
    RandomOrder(),
    LengthMatchedRandom(GRADSHIELD),
    Oracle(),
    MeanLoss(),
    PAPER,
    GRADSHIELD,
)
FILTERS: dict[str, Filter] = {one.name: one for one in _FILTERS}
"""By name, in the order in which tables show them."""
