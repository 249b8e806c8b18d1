"""The bars of the threshold study pick the default rule's worst cases."""

from __future__ import annotations

from typing import Any

from gradshield.benchmark.studies import STUDIES, threshold
from gradshield.threshold import DEFAULT_RULE


def _row(rule: str, shape: str, share: float, lost: float, found: float | None) -> dict[str, Any]:
    return {
        "rule": rule,
        "shape": shape,
        "harmful_share": share,
        "harmless_lost": lost,
        "harmful_found": found,
    }


def test_bars_are_the_worst_cases_of_the_default_rule() -> None:
    rows = [
        _row(DEFAULT_RULE, "gaussian", 0.0, 0.01, None),
        _row(DEFAULT_RULE, "skewed", 0.0, 0.04, None),
        _row(DEFAULT_RULE, "skewed", 0.1, 0.5, 0.1),
        _row(DEFAULT_RULE, "gaussian", 0.1, 0.5, 0.99),
        _row(DEFAULT_RULE, "gaussian", 0.01, 0.5, 0.96),
        _row("paper", "gaussian", 0.0, 0.9, None),
        _row("paper", "gaussian", 0.1, 0.9, 0.0),
    ]
    lost, found = threshold._bars(rows)
    assert (lost.value, lost.holds) == (0.04, False)
    assert (found.value, found.holds) == (0.96, True)


def test_studies_are_known_by_name() -> None:
    names = "align robustness demo threshold speed judges search preference reliability"
    assert set(STUDIES) == set(names.split())
