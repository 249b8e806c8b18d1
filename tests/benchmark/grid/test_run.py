"""A whole grid on a tiny model: what is written, and that nothing is measured twice."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gradshield.benchmark.grid.lines import COLUMNS
from gradshield.benchmark.grid.run import run_grid
from gradshield.progress import Silent
from tests.benchmark.grid.conftest import small_grid


def results(folder: Path, **wanted: str) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_every_filter_scores_every_data_set(finished: Path) -> None:
    found = results(finished, level="scores")
    data_sets = {(row["attack"], row["share"]) for row in found}
    # Without harmful rows there is one data set, whatever the attack; and controls are apart.
    assert data_sets == {
        ("none", "0.0"),
        ("explicit", "0.2"),
        ("harmless_lists", "0.2"),
        ("harmless_lists:controls", "0.2"),
    }
    assert len(found) == len(data_sets) * 5


def test_the_oracle_is_perfect_and_no_filter_keeps_everything(finished: Path) -> None:
    oracle = results(finished, level="scores", filter="oracle", attack="explicit")[0]
    assert (oracle["average_precision"], oracle["harmless_lost"]) == ("1.0", "0.0")
    assert oracle["planted_kept"] == "0.0"
    nothing = results(finished, level="scores", filter="none", attack="explicit")[0]
    assert (nothing["auroc"], nothing["harmful_kept"], nothing["forwards"]) == ("0.5", "1.0", "0.0")


def test_controls_have_no_harmful_rows(finished: Path) -> None:
    for row in results(finished, level="scores", attack="harmless_lists:controls"):
        assert row["auroc"] == row["harmful_kept"] == ""
        assert row["planted_kept"] != ""


def test_costs_are_counted(finished: Path) -> None:
    row = results(finished, level="scores", filter="mean_loss", attack="explicit")[0]
    assert float(row["forwards"]) > 0
    assert float(row["backwards"]) == 0


def test_what_is_finetuned_on_is_what_each_protocol_keeps(finished: Path) -> None:
    found = {
        (row["share"], row["filter"], row["method"], row["protocol"]): row
        for row in results(finished, level="finetune", training="0")
    }
    assert set(found) == {
        *((share, "none", "plain", "own_threshold") for share in ("0.0", "0.2")),
        *((share, "none", "safe_instruct", "own_threshold") for share in ("0.0", "0.2")),
        *((share, "random", "plain", "own_threshold") for share in ("0.0", "0.2")),
        *((share, "oracle", "plain", "own_threshold") for share in ("0.0", "0.2")),
        *((share, "oracle", "plain", "search") for share in ("0.0", "0.2")),
        *((share, "mean_loss", "plain", "own_threshold") for share in ("0.0", "0.2")),
        *(("0.2", name, "plain", "equal_share") for name in ("random", "oracle", "mean_loss")),
    }
    # The second part of the grid plans some of the models of the first, which are made once.
    assert len(results(finished, level="finetune", training="0")) == len(found)
    assert found["0.2", "none", "plain", "own_threshold"]["kept"] == "10"
    assert found["0.2", "oracle", "plain", "own_threshold"]["kept"] == "8"
    assert found["0.2", "oracle", "plain", "equal_share"]["harmful_kept"] == "0.0"
    assert found["0.2", "random", "plain", "equal_share"]["kept"] == "8"
    for row in found.values():
        assert 0 <= int(row["complied"]) <= int(row["prompts"]) == 3
        assert 0 <= float(row["utility"]) <= 1
        assert set(row) == set(COLUMNS)


def test_a_part_is_trained_on_the_same_rows_as_often_as_it_asks(finished: Path) -> None:
    again = results(finished, level="finetune", training="1")
    # That part has neither `none` nor a search.
    assert {(row["filter"], row["method"], row["protocol"]) for row in again} == {
        *(("oracle", "plain", protocol) for protocol in ("own_threshold", "equal_share")),
        *(("mean_loss", "plain", protocol) for protocol in ("own_threshold", "equal_share")),
        ("none", "safe_instruct", "own_threshold"),
    }
    for row in again:
        first = results(
            finished,
            level="finetune",
            training="0",
            **{name: row[name] for name in ("share", "filter", "method", "protocol")},
        )[0]
        assert row["kept"] == first["kept"]
        assert row["drift"] != first["drift"]


@pytest.mark.usefixtures("_few_probes", "_measures_nothing")
def test_a_second_run_measures_nothing_again_and_writes_the_same(
    finished: Path,
    model_folder: Path,
    public: Path,
) -> None:
    before = (finished / "results.csv").read_bytes()
    run_grid(small_grid(model_folder), public, finished, Silent())
    assert (finished / "results.csv").read_bytes() == before
