from __future__ import annotations

import pytest

from gradshield.evaluation.judges.agreement import agreement


def test_kappa_of_a_hand_counted_table() -> None:
    """Both yes 20, only a 5, only b 10, both no 15: p = 0.7, q = 0.5, kappa = 0.4."""
    a = [1.0] * 20 + [0.9] * 5 + [0.1] * 10 + [0.0] * 15
    b = [0.5] * 20 + [0.4] * 5 + [0.8] * 10 + [0.2] * 15
    found = agreement(a, b)
    assert found.share == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.disagreeing == tuple(range(20, 35))
    assert found.disagreements == 15


def test_opposite_judges_agree_less_than_by_chance() -> None:
    found = agreement([1.0, 0.0], [0.0, 1.0])
    assert (found.share, found.kappa, found.disagreeing) == (0.0, -1.0, (0, 1))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_full_agreement_on_one_class_is_perfect(value: float) -> None:
    found = agreement([value] * 3, [value] * 3)
    assert (found.share, found.kappa, found.disagreeing) == (1.0, 1.0, ())


def test_a_judge_that_says_one_thing_agrees_by_chance_only() -> None:
    found = agreement([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0])
    assert (found.share, found.kappa) == (0.75, 0.0)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 0.0])])
def test_unpaired_values_are_an_error(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="same length"):
        agreement(a, b)
