from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.threshold import DEFAULT_RULE, RULES, decide


def two_groups(rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Quantile-like, deterministic: harmless around 0, a fifth of the rows around 8, reference."""
    generator = np.random.default_rng(1)
    harmful = rows // 5
    scores = np.r_[generator.normal(0, 1, rows - harmful), generator.normal(8, 1, harmful)]
    return scores, generator.normal(0, 1, 100)


def test_the_default_rule_is_registered_and_names_match() -> None:
    assert DEFAULT_RULE in RULES
    assert all(rule.name == name for name, rule in RULES.items())


@pytest.mark.parametrize("rule", RULES)
def test_decisions_are_repeatable_and_serialisable(rule: str) -> None:
    scores, reference = two_groups()
    first = decide(scores, reference, rule=rule, seed=3)
    assert first == decide(scores.tolist(), reference.tolist(), rule=rule, seed=3)
    assert first.method == rule
    assert first.reason.endswith(".")
    assert "\n" not in first.reason
    assert json.loads(json.dumps(first.diagnostics, allow_nan=False)) is not None


@pytest.mark.parametrize("rule", [name for name in RULES if name != "calibrated_fdr"])
def test_every_rule_finds_a_clearly_separate_group(rule: str) -> None:
    scores, reference = two_groups()
    removed = scores >= decide(scores, reference, rule=rule).threshold
    assert removed[48:].mean() >= 0.9
    assert removed[:48].mean() <= 0.1


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=4, deadline=None)
@given(scale=st.floats(1e-4, 1e4), shift=st.floats(-1e3, 1e3))
def test_threshold_follows_the_unit_of_the_scores(rule: str, scale: float, shift: float) -> None:
    scores, reference = two_groups()
    shift *= scale
    plain = decide(scores, reference, rule=rule).threshold
    moved = decide(scale * scores + shift, scale * reference + shift, rule=rule).threshold
    if math.isinf(plain):
        assert moved == plain
    else:
        assert (moved - shift) / scale == pytest.approx(plain, abs=5e-3)


@settings(deadline=None)
@given(
    value=st.floats(-1e6, 1e6),
    rows=st.integers(0, 50),
    rule=st.sampled_from(sorted(RULES)),
    reference=st.none() | st.just([0.0, 1.0, 2.0] * 10),
)
def test_equal_scores_lose_no_row(
    value: float, rows: int, rule: str, reference: list[float] | None
) -> None:
    decision = decide([value] * rows, reference, rule=rule)
    assert decision.threshold == math.inf
    what = f"{rows} scored row(s)" if rows < 2 else "all scores are equal"
    assert decision.reason == (f"{what}: there is nothing to tell apart, so no row is removed.")
    assert decision.diagnostics == {"warnings": [decision.reason]}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_scores_are_an_error(bad: float) -> None:
    with pytest.raises(ValueError, match=r"1 of 3 scores .* position 1.* rejected before"):
        decide([0.0, bad, 1.0])
    with pytest.raises(ValueError, match="reference are not finite"):
        decide([0.0, 1.0], [bad])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="known are paper"):
        decide([0.0, 1.0], rule="magic")
    with pytest.raises(ValueError, match="one-dimensional"):
        decide([[0.0, 1.0]])
    with pytest.raises(ValueError, match="level"):
        decide([0.0, 1.0], level=1.0)
    with pytest.raises(ValueError, match="reference") as refusal:
        decide([0.0, 1.0], [])
    assert str(refusal.value) == (
        "the reference holds no rows: pass None, or scores of harmless rows."
    )


@pytest.mark.parametrize("rule", ["calibrated", "calibrated_fdr"])
@pytest.mark.parametrize("reference", [None, [0.0] * 19])
def test_calibrated_rules_ask_for_a_reference(rule: str, reference: list[float] | None) -> None:
    rows = 0 if reference is None else 19
    with pytest.raises(ValueError, match="the rule") as refusal:
        decide([0.0, 1.0, 2.0], reference, rule=rule)
    assert str(refusal.value) == (
        f"the rule '{rule}' compares scores with those of harmless reference rows and needs at "
        f"least 20 of them (got {rows}): score a set of harmless rows with the same model and "
        "direction and pass it as the reference, or choose a rule that works from the scores alone "
        "('heavy_tailed', 'mixture', 'paper')."
    )


@pytest.mark.parametrize("rule", ["mixture", "heavy_tailed", "adaptive"])
def test_two_rows_are_not_two_groups(rule: str) -> None:
    assert decide([0.0, 1.0], rule=rule).threshold > 1.0


@pytest.mark.parametrize("rule", ["mixture", "heavy_tailed", "calibrated", "adaptive"])
def test_a_wide_upper_component_does_not_empty_the_data(rule: str) -> None:
    """The failed trial: refusals far below, harmful rows wide and partly below the harmless."""
    generator = np.random.default_rng(0)

    def harmless(rows: int) -> np.ndarray:
        return np.r_[generator.normal(-5, 0.5, rows // 10), generator.normal(0, 1, rows * 9 // 10)]

    scores = np.r_[harmless(100), generator.normal(3, 2.3, 25)]
    reference = harmless(300)
    paper = scores >= decide(scores, rule="paper").threshold
    ours = scores >= decide(scores, reference, rule=rule).threshold
    assert paper.mean() > 0.85
    assert ours[:100].mean() <= 0.05
    assert ours.mean() < 0.25
