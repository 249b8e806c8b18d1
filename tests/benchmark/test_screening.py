from __future__ import annotations

import numpy as np
import pytest

from gradshield.benchmark import screening
from gradshield.benchmark.screening import conformal_margin, screening_rows
from gradshield.data.tokenization import TokenizedExample
from gradshield.scoring.engines import ExampleScore


def test_the_margin_is_the_conformal_order_statistic() -> None:
    excess = np.array([5.0, 1.0, 3.0, 2.0, 4.0])
    # ceil(0.5 x 6) = 3; ceil(0.9 x 6) = 6, which five rows cannot give.
    assert conformal_margin(excess, 0.5) == 3.0
    assert conformal_margin(excess, 0.1) == np.inf


def test_the_margin_holds_for_new_rows() -> None:
    generator = np.random.default_rng(0)
    exceeded = [
        generator.standard_t(3) > conformal_margin(generator.standard_t(3, size=99), 0.1)
        for _ in range(4000)
    ]
    # Four standard errors of a share of a tenth.
    assert np.mean(exceeded) <= 0.1 + 4 * np.sqrt(0.09 / len(exceeded))


def test_a_screen_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening, "FIRST_TOKENS", (1, 3))
    monkeypatch.setattr(screening, "MISSED_SHARE", 0.5)
    # Rows of a prompt of two and three response tokens: only the last token of row 3 is large.
    contributions = [(1.0, 0.0, 0.0), (2.0, 0.0, 0.0), (3.0, 0.0, 0.0), (0.0, 0.0, 9.0)]
    examples = [
        TokenizedExample(row, (5,) * 5, (False, False, True, True, True), False) for row in range(4)
    ]
    scores = {row: ExampleScore(row, sum(c), 0.0, c) for row, c in enumerate(contributions)}
    first, whole = screening_rows(scores, examples)
    # ceil(0.5 x 5) = 3: the third smallest excess of (0, 0, 0, 9) is 0. The threshold, the 0.9
    # quantile of (1, 2, 3, 9), is 7.2: no screen reaches it, and row 3 is missed.
    assert first["margin"] == 0.0
    assert first["scored_again"] == 0.0
    assert first["missed"] == 0.25
    assert first["tokens_of_full_scoring"] == pytest.approx(3 / 5)
    assert whole["spearman"] == pytest.approx(1.0)
    assert whole["missed"] == 0.0
