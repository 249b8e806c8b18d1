from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from gradshield.benchmark.grid import plots
from gradshield.benchmark.grid.lines import write_lines
from gradshield.benchmark.grid.tables import (
    TABLES,
    as_markdown,
    as_text,
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


def line(level: str, name: str, attack: str, share: float, **figures: object) -> dict[str, object]:
    cell = {"task": "sst2", "attack": attack, "share": share, "seed": 0}
    return {
        "level": level,
        **cell,
        "filter": name,
        "method": "plain",
        "protocol": "own_threshold",
        "training": 0,
        **figures,
    }


def measured(name: str, attack: str, complied: int, **changes: object) -> dict[str, object]:
    counts = {"complied": complied, "complied_second_judge": 1, "incoherent": 0, "prompts": 10}
    others = {"over_refusals": 1, "over_refusal_prompts": 4, "utility": 0.5, "finetunes": 1}
    lost = {"harmless_lost": 0.1, "harmful_kept": 0.0}
    return {**line("finetune", name, attack, 0.2), **counts, **others, **lost, **changes}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = [
        line("scores", "zeta", "none", 0.0, harmless_lost=0.02),
        line("scores", "zeta", "b", 0.2, average_precision=0.4, harmless_lost=0.1),
        line("scores", "zeta", "b", 0.5, average_precision=0.6, harmless_lost=0.3),
        line("scores", "zeta", "a", 0.2, average_precision=0.9, harmless_lost=0.2),
        line("scores", "alpha", "b", 0.2, average_precision=1.0, harmless_lost=0.0),
        line("scores", "zeta", "a:controls", 0.2, harmless_lost=1.0, planted_kept=0.5),
        measured("zeta", "b", 2),
        measured("zeta", "a", 4),
        measured("none", "b", 9, method="lisa"),
    ]
    write_lines(tmp_path / "results.csv", lines)
    return tmp_path


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


def test_without_seeds_there_is_nothing_to_tell(folder: Path) -> None:
    assert seed_table(read_results(folder)).empty
    assert oracle_table(read_results(folder)).empty


def test_markdown_by_hand() -> None:
    table = pd.DataFrame({"x": [0.5, float("nan")]}, index=pd.Index(["a", "b"], name="filter"))
    assert as_markdown(table, 2) == "| filter | x |\n| --- | ---: |\n| a | 0.50 |\n| b | - |\n"


def test_success_by_attack_names_what_was_trained(folder: Path) -> None:
    chart = plots.success_by_attack_chart(read_results(folder))
    assert chart is not None
    cells = {(row["y"], row["x"]): row["value"] for row in chart["data"]["values"]}
    assert cells == {
        ("zeta, own_threshold", "b"): 0.2,
        ("zeta, own_threshold", "a"): 0.4,
        ("lisa", "b"): 0.9,
    }


def test_all_tables_with_rows_are_shown(folder: Path) -> None:
    text = as_text([folder], [])
    assert "### average_precision" in text
    assert "### attacks_search" not in text


def test_unknown_tables_and_missing_results_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Unknown table none: choose of average_precision"):
        as_text([folder], ["none"])
    with pytest.raises(UserError, match="benchmark run"):
        read_results(tmp_path / "nowhere")


def test_tables_and_figures_of_a_whole_grid(finished: Path, tmp_path: Path) -> None:
    text = as_text([finished], [])
    # One seed has no spread, and two shares of it have, beside the oracle's.
    assert all((f"### {name}\n" in text) == (name != "seeds") for name in TABLES)
    drawn = plots.draw(finished, tmp_path)
    names = ["separation.svg", "success.svg", "success_by_attack.svg"]
    assert [path.name for path in drawn] == names
    assert all(path.read_text().startswith("<svg") for path in drawn)
