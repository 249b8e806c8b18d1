from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from gradshield.evaluation import intervals
from gradshield.evaluation.intervals import Difference, paired_bootstrap, student, wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 20), (7, 20), (20, 20), (1, 1), (3, 1000)])
@pytest.mark.parametrize(("confidence", "z"), [(0.95, 1.959964), (0.9, 1.644854)])
def test_wilson_is_wilsons_formula(
    successes: int, trials: int, confidence: float, z: float
) -> None:
    share = successes / trials
    middle = share + z**2 / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    found = wilson(successes, trials, confidence)
    scale = 1 + z**2 / trials
    assert found.low == pytest.approx((middle - half) / scale, abs=1e-6)
    assert found.high == pytest.approx((middle + half) / scale, abs=1e-6)


def test_wilson_of_no_success_ends_where_known() -> None:
    """At 0 of n the upper end is z^2 / (n + z^2): 3.8415 / 103.8415 of 100."""
    found = wilson(0, 100)
    assert found.low == pytest.approx(0, abs=1e-12)
    assert found.high == pytest.approx(0.036993, abs=1e-6)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_of_impossible_counts_is_an_error(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, trials)


def test_student_by_hand() -> None:
    # Mean 4, standard deviation 2 of three values; t is 4.302653 at 95 % and 2.919986 at 90 %.
    found = student([2.0, 4.0, 6.0])
    half = 4.302653 * 2 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half), abs=1e-5)
    assert student([2.0, 4.0, 6.0], 0.9).high == pytest.approx(4 + 2.919986 * 2 / math.sqrt(3))
    assert (student([0.5, 0.5]).low, student([0.5, 0.5]).high) == (0.5, 0.5)


def test_one_value_has_no_spread() -> None:
    with pytest.raises(ValueError, match="1 values have no spread"):
        student([0.5])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_wilson_of_an_impossible_confidence_is_an_error(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, confidence)


def test_bootstrap_of_a_constant_difference_has_no_width() -> None:
    found = paired_bootstrap([0.0, 0.5, 2.0], [0.25, 0.75, 2.25], seed=0, samples=50)
    assert found == Difference(0.25, 0.25, 0.25)


def _quantile(values: list[float], share: float) -> float:
    """The least value that at least this share of the values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def test_bootstrap_of_three_items_is_the_percentile_of_all_27_draws() -> None:
    first, second = [0.0, 0.0, 1.0], [1.0, 0.0, 4.0]
    draws = [sum(draw) / 3 for draw in itertools.product([1.0, 0.0, 3.0], repeat=3)]
    found = paired_bootstrap(first, second, seed=1, samples=20_000)
    assert found.mean == pytest.approx(4 / 3)
    assert found.low == pytest.approx(_quantile(draws, 0.025), abs=1e-12)
    assert found.high == pytest.approx(_quantile(draws, 0.975), abs=1e-12)


def test_bootstrap_of_many_items_is_near_the_normal_interval() -> None:
    generator = np.random.default_rng(5)
    first, second = generator.normal(size=(2, 400))
    difference = second - first
    error = 1.959964 * difference.std() / math.sqrt(400)
    found = paired_bootstrap(list(first), list(second), seed=2)
    assert found.mean == pytest.approx(difference.mean())
    assert found.low == pytest.approx(difference.mean() - error, abs=0.05 * error)
    assert found.high == pytest.approx(difference.mean() + error, abs=0.05 * error)


def test_bootstrap_pairs_items() -> None:
    """Values far apart between items and equal within them leave nothing to doubt."""
    values = [0.0, 100.0, 1000.0]
    assert paired_bootstrap(values, values, seed=0) == Difference(0.0, 0.0, 0.0)


def test_bootstrap_turns_round_with_its_arguments() -> None:
    first, second = [0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]
    there, back = paired_bootstrap(first, second, 3), paired_bootstrap(second, first, 3)
    assert (back.mean, back.low, back.high) == (-there.mean, -there.high, -there.low)
    assert there.mean > 0


def test_bootstrap_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 30)).tolist()
    whole = paired_bootstrap(first, second, seed=7, samples=500)
    assert paired_bootstrap(first, second, seed=7, samples=500) == whole
    assert paired_bootstrap(first, second, seed=8, samples=500) != whole
    monkeypatch.setattr(intervals, "DRAWS_AT_A_TIME", 100)
    assert paired_bootstrap(first, second, seed=7, samples=500) == whole


@pytest.mark.parametrize(
    ("first", "second", "samples"), [([], [], 10), ([1.0], [1.0, 2.0], 10), ([1.0], [1.0], 0)]
)
def test_bootstrap_of_unpaired_values_is_an_error(
    first: list[float], second: list[float], samples: int
) -> None:
    with pytest.raises(ValueError, match="same length"):
        paired_bootstrap(first, second, seed=0, samples=samples)
