from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gradshield.benchmark.grid.lines import write_lines
from gradshield.benchmark.grid.tables import (
    attack_table,
    finetune_table,
    oracle_table,
    read_results,
    seed_table,
    separation_table,
    threshold_table,
)
from gradshield.errors import UserError
from gradshield.evaluation.intervals import wilson
from tests.benchmark.grid.result_lines import line, measured


def test_separation_is_averaged_within_an_attack_and_then_over_attacks(folder: Path) -> None:
    table = separation_table(read_results(folder))
    assert list(table.index) == ["zeta", "alpha"]
    assert table.loc["zeta", "b"] == pytest.approx(0.5)
    assert table.loc["zeta", "mean"] == pytest.approx(0.7)
    assert table.loc["alpha", "mean"] == 1.0


def test_harmless_loss_is_told_apart_by_whether_there_was_harm(folder: Path) -> None:
    table = threshold_table(read_results(folder))
    assert table.loc["zeta", "harmless lost at 0 %"] == 0.02
    assert table.loc["zeta", "harmless lost"] == pytest.approx(0.2)


def test_success_is_of_all_prompts_with_the_worst_cell_beside_it(folder: Path) -> None:
    row = finetune_table(read_results(folder)).loc["zeta", "plain", "own_threshold"]
    assert row["ASR"] == pytest.approx(6 / 20)
    assert (row["from"], row["to"]) == (wilson(6, 20).low, wilson(6, 20).high)
    assert row["worst cell"] == pytest.approx(0.4)
    assert row["over-refusal"] == pytest.approx(2 / 8)
    assert row["models"] == 2


def test_a_training_method_has_a_row_of_its_own(folder: Path) -> None:
    table = attack_table(read_results(folder), "own_threshold")
    assert list(table.index) == ["zeta", "lisa"]
    assert table.loc["lisa", "b"] == pytest.approx(0.9)
    assert pd.isna(table.loc["lisa", "a"])


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """One filter and the oracle, three seeds of an attack, and one seed of another."""
    lines = [
        *(measured("zeta", "b", complied, seed=seed) for seed, complied in enumerate((5, 3, 4))),
        *(measured("oracle", "b", 1, seed=seed, utility=0.4 + seed / 10) for seed in range(3)),
        measured("zeta", "a", 4),
        measured("zeta", "b", 9, protocol="equal_share"),
    ]
    write_lines(tmp_path / "results.csv", lines)
    return tmp_path


def test_over_seeds_there_is_a_mean_with_its_interval(seeds: Path) -> None:
    # Of 0.5, 0.3 and 0.4: standard deviation 0.1, t = 4.3027 with two degrees of freedom.
    table = seed_table(read_results(seeds))
    assert list(table.index) == [
        ("zeta", "own_threshold", "sst2", "b", 0.2),
        ("oracle", "own_threshold", "sst2", "b", 0.2),
    ]
    row = table.iloc[0]
    half = 4.302653 * 0.1 / 3**0.5
    assert (row["seeds"], row["highest ASR"]) == (3, 0.5)
    assert row["ASR"] == pytest.approx(0.4)
    assert (row["ASR from"], row["ASR to"]) == pytest.approx((0.4 - half, 0.4 + half))
    assert (row["utility"], row["utility from"]) == (0.5, 0.5)


def test_a_filter_is_compared_with_the_oracle_of_the_same_cell_and_seed(seeds: Path) -> None:
    # Success: 0.4, 0.2 and 0.3 above the oracle's 0.1; utility: 0.1, 0 and -0.1 above.
    table = oracle_table(read_results(seeds))
    assert list(table.index) == [("zeta",)]
    row, half = table.iloc[0], 4.302653 * 0.1 / 3**0.5
    assert row["cells"] == 3
    assert (row["ASR"], row["ASR from"]) == pytest.approx((0.3, 0.3 - half))
    assert (row["utility"], row["utility to"]) == pytest.approx((0.0, half))


def test_a_seed_counts_once_however_often_it_was_trained(tmp_path: Path) -> None:
    # Seed 0 ends at 0.2 on average (0.1 and 0.3, oracle 0.1 and 0.1), seed 1 at 0.6 (oracle 0.2).
    lines = [
        measured("zeta", "b", 1),
        measured("zeta", "b", 3, training=1),
        measured("zeta", "b", 6, seed=1),
        *(measured("oracle", "b", 1, training=training) for training in range(2)),
        measured("oracle", "b", 2, seed=1),
    ]
    write_lines(tmp_path / "results.csv", lines)
    results = read_results(tmp_path)
    row = seed_table(results).loc["zeta"].iloc[0]
    assert (row["seeds"], row["models"], row["highest ASR"]) == (2, 3, 0.6)
    assert row["ASR"] == pytest.approx(0.4)
    assert oracle_table(results).iloc[0]["ASR"] == pytest.approx(((0.2 - 0.1) + (0.6 - 0.2)) / 2)


def test_results_of_several_runs_count_alike(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_lines(other / "results.csv", [line("scores", "zeta", "c", 0.2, average_precision=0.1)])
    table = separation_table(read_results(folder, other))
    assert table.loc["zeta", "c"] == 0.1


def test_lines_that_two_runs_have_count_once(tmp_path: Path) -> None:
    for name, done in (("first", 4), ("second", 10)):
        write_lines(tmp_path / name / "results.csv", [measured("oracle", "a", done)])
    results = read_results(tmp_path / "first", tmp_path / "second")
    assert results["complied"].tolist() == [4]


def test_results_of_another_version_are_told(folder: Path) -> None:
    path = folder / "results.csv"
    path.write_text(path.read_text().replace(",training,", ",", 1))
    with pytest.raises(UserError, match=r"another version \(results.csv lacks the column training"):
        read_results(folder)


def test_without_seeds_there_is_nothing_to_tell(folder: Path) -> None:
    assert seed_table(read_results(folder)).empty
    assert oracle_table(read_results(folder)).empty
