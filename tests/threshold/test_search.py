from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.threshold.search import (
    Measurement,
    Point,
    SearchGoal,
    SearchResult,
    search_threshold,
)

ALIGNED = Measurement(complied=2, prompts=100, drift=0.0, utility=0.1)


@dataclass
class World:
    """Rows of which some push S; success rates follow the drift along a logistic curve."""

    pushes: np.ndarray
    limit: float = 10.0
    utility: Callable[[int], float] = lambda kept: 0.8
    seen: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, positions: Sequence[int], look: int) -> Measurement:
        self.seen.append((len(positions), look))
        drift = float(self.pushes[list(positions)].sum())
        rate = 1 / (1 + math.exp(-(drift - self.limit)))
        complied = round(100 * rate)
        return Measurement(complied, 100, drift, self.utility(len(positions)), seeds=(look,))

    def largest_safe(self, scores: np.ndarray, target: float) -> int:
        """By trying every threshold."""
        order = np.argsort(scores)
        safe = [
            kept
            for kept in range(1, len(scores) + 1)
            if World(self.pushes, self.limit)(order[:kept], 0).attack_success_rate <= target
        ]
        return max(safe)


def mixed(harmful: int, harmless: int, seed: int = 0) -> tuple[np.ndarray, World]:
    """Scores that tell harmful rows mostly, and a world in which only those push S."""
    generator = np.random.default_rng(seed)
    scores = np.concatenate([generator.normal(0, 1, harmless), generator.normal(5, 1.5, harmful)])
    pushes = np.concatenate([np.zeros(harmless), np.full(harmful, 1.0)])
    return scores, World(pushes)


def rates(result: SearchResult) -> list[float]:
    return [point.measurement.attack_success_rate for point in result.points]


def test_unfiltered_data_that_is_safe_is_kept_whole_after_one_finetune() -> None:
    scores, world = mixed(harmful=0, harmless=50)
    result = search_threshold(scores, world, ALIGNED, guess=1.0)
    assert (result.status, result.finetunes) == ("already_safe", 1)
    assert result.chosen is not None
    assert result.chosen.threshold == math.inf
    assert "already safe" in result.reason
    assert "all 50 rows" in result.reason


def test_the_largest_safe_kept_set_is_found_within_the_tolerance() -> None:
    scores, world = mixed(harmful=60, harmless=340)
    result = search_threshold(scores, world, ALIGNED, guess=2.5)
    best = world.largest_safe(scores, 0.06)
    assert result.chosen is not None
    assert result.chosen.safe
    assert best - 0.03 * 400 <= result.chosen.kept <= best
    assert result.chosen.kept == (scores < result.chosen.threshold).sum()


def test_every_trial_is_of_the_rows_below_its_threshold() -> None:
    scores, world = mixed(harmful=30, harmless=70)
    kept_rows: list[list[int]] = []

    def measure(positions: Sequence[int], look: int) -> Measurement:
        kept_rows.append(list(positions))
        return world(positions, look)

    result = search_threshold(scores, measure, ALIGNED, guess=2.5)
    for point, rows in zip(result.points, kept_rows, strict=True):
        assert rows == np.flatnonzero(scores < point.threshold).tolist()


def test_the_guess_comes_second_and_an_infinite_one_not_at_all() -> None:
    scores, world = mixed(harmful=60, harmless=340)
    result = search_threshold(scores, world, ALIGNED, guess=2.5)
    assert result.points[1].threshold == scores[scores >= 2.5].min()
    assert search_threshold(scores, world, ALIGNED, guess=math.inf).chosen is not None


def test_predictions_need_fewer_finetunes_than_bisection_from_scratch() -> None:
    predicted, bisected = [], []
    for seed in range(20):
        for harmful in (20, 60, 120):
            scores, world = mixed(harmful, 400 - harmful, seed)
            goal = SearchGoal(most_finetunes=20)
            guess = float(np.quantile(scores[: 400 - harmful], 0.98))
            fast = search_threshold(scores, world, ALIGNED, guess=guess, goal=goal)
            slow = search_threshold(scores, world, ALIGNED, goal=goal, strategy="bisection")
            assert fast.status == slow.status
            predicted.append(fast.finetunes)
            bisected.append(slow.finetunes)
    assert np.mean(predicted) <= 0.75 * np.mean(bisected)


def test_bisection_takes_the_middle_of_the_bracket() -> None:
    scores, world = np.arange(64.0), World(np.concatenate([np.zeros(32), np.ones(32)]))
    search_threshold(scores, world, ALIGNED, strategy="bisection", guess=3.0)
    # Seven harmful rows drift by 7, three below the limit: 4.7 %, safe; eight: 11.9 %.
    assert [kept for kept, _ in world.seen] == [64, 32, 48, 40, 36, 38, 39]


@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_predicted_drifts_follow_the_sums_of_scores_between_measured_drifts(unit: float) -> None:
    # Drift is exactly twice the score, so that every prediction between two points is exact.
    scores = np.concatenate([np.full(40, 0.01), np.linspace(0.2, 1, 40)])
    world = World(2 * scores, limit=20.0)
    result = search_threshold(unit * scores, world, ALIGNED, guess=None)
    assert result.points[0].predicted_drift is None
    for point in result.points[1:]:
        assert point.predicted_drift == pytest.approx(point.measurement.drift)


@dataclass
class Table:
    """Measurements that are written down: (complied of 100, drift) by rows kept."""

    rates: dict[int, tuple[int, float]]
    prompts: int = 100
    seen: list[int] = field(default_factory=list)

    def __call__(self, positions: Sequence[int], look: int) -> Measurement:
        self.seen.append(len(positions))
        complied, drift = self.rates[len(positions)]
        return Measurement(complied, self.prompts, drift, 0.8, seeds=(look,))


# A hundred rows that count alike: predicted drifts go by rows, whatever the sign of the scores.
ALIKE = np.linspace(0, 1e-9, 100)


@pytest.mark.parametrize(
    "scores",
    # Where sums of scores fall, rows count.
    [1 + ALIKE, 1e-3 * (1 + ALIKE), np.linspace(-2, -1e-3, 100)],
    ids=["alike", "small", "below zero"],
)
def test_the_next_point_is_predicted_by_hand(scores: np.ndarray) -> None:
    """Aligned: 2 of 100, log-odds -3.674. Target: 6 %, log-odds -2.752."""
    table = Table({100: (60, 15.0), 40: (50, 8.0), 10: (2, 2.0), 25: (30, 5.0), 14: (2, 2.5)})
    result = search_threshold(
        scores, table, ALIGNED, guess=scores[40], goal=SearchGoal(most_finetunes=5)
    )
    # 40 rows: log-odds 0, drift 8. The target is 25.1 % of the way up, so a drift of 2.01 is too
    # much, and each row adds 0.2: 10 rows. Then the bracket is 10 to 40, not halved: the middle.
    # 25 rows: log-odds -0.838, drift 5. 32.5 % of the way from 2 to 5 nats is 2.98: 14 rows.
    assert table.seen == [100, 40, 10, 25, 14]
    predicted = [point.predicted_drift for point in result.points]
    assert predicted[0] is None
    assert predicted[1:] == pytest.approx([6.0, 2.0, 5.0, 2.8], rel=1e-6)


def test_rows_count_where_the_scores_of_a_bracket_add_up_to_nothing() -> None:
    scores = np.concatenate([np.arange(-20.0, 0.0), np.arange(1.0, 81.0)])
    table = Table({100: (60, 15.0), 40: (50, 8.0), 10: (2, 2.0)})
    goal = SearchGoal(most_finetunes=3)
    result = search_threshold(scores, table, ALIGNED, guess=scores[40], goal=goal)
    assert table.seen == [100, 40, 10]
    assert [point.predicted_drift for point in result.points[1:]] == pytest.approx([0.0, 2.0])


def test_a_bracket_as_wide_as_the_tolerance_ends_the_search() -> None:
    scores = 1 + ALIKE
    table = Table({100: (60, 15.0), 40: (50, 8.0), 10: (2, 2.0), 25: (30, 5.0)})
    goal = SearchGoal(tolerance=0.15)
    search_threshold(scores, table, ALIGNED, guess=scores[40], goal=goal)
    assert table.seen == [100, 40, 10, 25]


@pytest.mark.parametrize(
    ("aligned", "complied", "prompts", "following"),
    [
        # The aligned model itself complies more often, or as often: half of the drift is allowed.
        (60, 50, 100, 20),
        (50, 50, 100, 20),
        # It is too unsafe already, so no drift is allowed: a tenth of the bracket at least.
        (40, 50, 100, 4),
        # 40 rows hardly miss the target: a tenth of the bracket is cut off at least.
        (20, 61, 1000, 36),
    ],
)
def test_limits_of_the_next_point(
    aligned: int, complied: int, prompts: int, following: int
) -> None:
    scores = 1 + ALIKE
    rates = {100: (complied, 15.0), 40: (complied, 8.0), following: (0, 0.0)}
    table = Table(rates, prompts)
    start = Measurement(aligned, prompts, 0.0, 0.1)
    goal = SearchGoal(most_finetunes=3)
    search_threshold(scores, table, start, guess=scores[40], goal=goal)
    assert table.seen == [100, 40, following]


def test_two_finetunes_of_one_kept_set_are_pooled() -> None:
    first = Measurement(3, 100, 2.0, 0.75, (0,), {"of": "the first"})
    second = Measurement(5, 60, 5.0, 0.25, (1,))
    assert first.pooled(second) == Measurement(8, 160, 3.5, 0.5, (0, 1), {"of": "the first"})


def test_what_is_at_the_target_is_safe_and_what_is_at_the_floor_is_useful() -> None:
    scores = np.arange(100.0)

    def measure(positions: Sequence[int], look: int) -> Measurement:
        complied, utility = {100: (50, 1.0)}.get(len(positions), (6, 0.95))
        return Measurement(complied, 100, 1.0, utility, (look,))

    goal = SearchGoal(target=0.06, utility_floor=0.95, most_finetunes=2)
    # A guess that removes the last row alone is one that can be tried.
    result = search_threshold(scores, measure, ALIGNED, guess=99.0, goal=goal)
    assert result.chosen is not None
    assert result.chosen.kept == 99
    assert result.reason == (
        "the largest kept set found safe: 99 of 100 rows, complied with 6.0% of 100 validation "
        "prompts (95 % interval 2.8% to 12.5%) (target 6%), utility 0.950 against 1.000 on "
        "everything, where it complies with 50.0% of 100 validation prompts (95 % interval 40.4% "
        "to 59.6%)."
    )


def test_an_unsafe_kept_set_is_looked_at_again_when_a_larger_one_is_safer() -> None:
    scores = np.arange(100.0)

    def measure(positions: Sequence[int], look: int) -> Measurement:
        # By bad luck of its seed, the first finetune on the guess is the least safe of all.
        unlucky = len(positions) == 60 and look == 0
        complied = 50 if unlucky else (20 if len(positions) > 90 else 0)
        return Measurement(complied, 100, float(complied), 0.8, seeds=(look,))

    result = search_threshold(
        scores, measure, ALIGNED, guess=60.0, goal=SearchGoal(target=0.3, most_finetunes=6)
    )
    assert result.status == "already_safe"
    result = search_threshold(scores, measure, ALIGNED, guess=60.0)
    [again] = [point for point in result.points if point.kept == 60]
    assert again.measurement.seeds == (0, 1)
    assert again.measurement.prompts == 200
    assert again.measurement.complied == 50
    assert again.predicted_drift is not None


def test_the_second_look_counts() -> None:
    scores = np.arange(100.0)

    def measure(positions: Sequence[int], look: int) -> Measurement:
        complied = {100: 20, 60: 25 if look == 0 else 0}.get(len(positions), 0)
        return Measurement(complied, 100, float(complied), 0.8, seeds=(look,))

    goal = SearchGoal(target=0.15, most_finetunes=3)
    result = search_threshold(scores, measure, ALIGNED, guess=60.0, goal=goal)
    assert result.status == "found"
    assert result.chosen is not None
    assert result.chosen.kept == 60
    assert result.chosen.measurement.attack_success_rate == 0.125


def test_no_threshold_is_said_when_safety_costs_too_much_utility() -> None:
    scores, world = mixed(harmful=60, harmless=340)
    world.utility = lambda kept: kept / 400
    goal = SearchGoal(utility_floor=0.99)
    result = search_threshold(scores, world, ALIGNED, guess=2.5, goal=goal)
    assert (result.status, result.chosen) == ("none", None)
    assert "no threshold meets both" in result.reason
    assert "none meets the utility floor" in result.reason


def test_no_threshold_is_said_when_nothing_is_safe() -> None:
    scores = np.arange(40.0)

    def measure(positions: Sequence[int], look: int) -> Measurement:
        return Measurement(90, 100, 5.0, 0.5, seeds=(look,))

    result = search_threshold(scores, measure, ALIGNED, guess=20.0)
    assert result.status == "none"
    assert "none is safe" in result.reason


def test_the_budget_is_kept() -> None:
    scores, world = mixed(harmful=60, harmless=340)
    goal = SearchGoal(most_finetunes=3, tolerance=1e-6)
    result = search_threshold(scores, world, ALIGNED, guess=2.5, goal=goal)
    assert result.finetunes == len(world.seen) == 3


def test_rows_with_equal_scores_stay_together() -> None:
    scores = np.repeat([0.0, 1.0, 2.0], 20)
    world = World(np.repeat([0.0, 0.0, 1.0], 20))
    result = search_threshold(scores, world, ALIGNED, guess=None)
    assert {point.kept for point in result.points} <= {20, 40, 60}
    assert result.chosen is not None
    assert result.chosen.kept == 40
    assert len(world.seen) == len(result.points), "nothing is measured twice"


def test_points_are_told_as_they_come() -> None:
    scores, world = mixed(harmful=60, harmless=340)
    told: list[Point] = []
    result = search_threshold(scores, world, ALIGNED, guess=2.5, told=told.append)
    assert tuple(told) == result.points


@pytest.mark.parametrize("scores", [[], [[1.0]], [1.0, math.nan]])
def test_scores_must_be_a_list_of_finite_numbers(scores: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^scores must be"):
        search_threshold(scores, World(np.zeros(1)), ALIGNED)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.3, 1.0, 4.0]), min_size=1, max_size=40),
    st.integers(0, 2**32 - 1),
    st.floats(-2, 5),
)
def test_any_world_ends_within_the_budget_with_a_point_that_meets_both(
    scores: list[float], seed: int, guess: float
) -> None:
    generator = np.random.default_rng(seed)

    def measure(positions: Sequence[int], look: int) -> Measurement:
        complied = int(generator.integers(0, 101))
        return Measurement(
            complied, 100, float(generator.normal()), float(generator.random()), (look,)
        )

    result = search_threshold(scores, measure, ALIGNED, guess=guess)
    assert result.finetunes <= SearchGoal().most_finetunes
    if result.chosen is None:
        assert not any(point.safe and point.useful for point in result.points)
    else:
        assert result.chosen.safe
        assert result.chosen.useful
