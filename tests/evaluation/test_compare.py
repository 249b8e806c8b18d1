from __future__ import annotations

import pytest

from gradshield.evaluation.compare import TaskComparison, compare_results, compare_tasks
from gradshield.evaluation.intervals import Difference, paired_bootstrap
from gradshield.evaluation.tasks.base import ItemResult


def results(**scores: float) -> list[ItemResult]:
    return [ItemResult(item, score, "", "") for item, score in scores.items()]


def test_items_are_matched_by_id_whatever_their_order() -> None:
    first = results(a=0, b=1, c=1, x=1)
    second = results(c=0, y=1, z=1, b=1, a=1)
    found = compare_results("sst2", first, second, seed=3)
    assert (found.matched, found.only_first, found.only_second) == (3, 1, 2)
    assert found.difference == paired_bootstrap([0, 1, 1], [1, 1, 0], 3)


def test_a_difference_is_second_less_first() -> None:
    found = compare_results("t", results(a=0.25, b=0.5), results(a=0.5, b=0.75))
    assert found == TaskComparison("t", 2, 0, 0, Difference(0.25, 0.25, 0.25))


def test_every_task_of_either_model_is_compared() -> None:
    found = compare_tasks(
        {"one": results(a=1), "two": results(a=1)}, {"three": results(a=1), "one": results(a=0)}
    )
    assert [comparison.task for comparison in found] == ["one", "two", "three"]
    assert found[0].difference == Difference(-1, -1, -1)
    assert found[1] == TaskComparison("two", 0, 1, 0, None)
    assert found[2] == TaskComparison("three", 0, 0, 1, None)


def test_two_results_of_one_item_are_an_error() -> None:
    with pytest.raises(ValueError, match="two results of one item"):
        compare_results("t", [*results(a=1), *results(a=0)], results(a=1))
