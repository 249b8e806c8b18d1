"""Several processes measure what one does, and their errors are those of one process."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gradshield.benchmark.grid import workers
from gradshield.benchmark.grid.bench import Bench
from gradshield.benchmark.grid.config import GridConfig
from gradshield.benchmark.grid.run import related, run_grid
from gradshield.benchmark.grid.workers import Order, measuring, own_device, share_cores
from gradshield.errors import UserError
from gradshield.progress import Silent
from tests.benchmark.grid.conftest import small_grid


@pytest.fixture(scope="module", autouse=True)
def _few_probes() -> None:
    """All probes, in place of the few of other tests: another process knows of no patch."""


@pytest.fixture(scope="module")
def config(model_folder: Path) -> GridConfig:
    """No filter that measures a direction; `compliance_vector` has a set among its fields."""
    small = small_grid(model_folder).model_dump(mode="json")
    filters = ["none", "random", "oracle", "compliance_vector"]
    finetunes = {**small["finetunes"][0], "shares": [0.2]}
    return GridConfig.model_validate({**small, "filters": filters, "finetunes": [finetunes]})


@pytest.fixture(scope="module")
def alone(config: GridConfig, public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    run_grid(config, public, out, Silent())
    return out


@pytest.fixture(scope="module")
def shared(config: GridConfig, public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shared")
    run_grid(config, public, out, Silent(), workers=2)
    return out


def lines(folder: Path) -> list[dict[str, str]]:
    """The results without the seconds that they took."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as stream:
        return [{**row, "seconds": ""} for row in csv.DictReader(stream)]


def kept(folder: Path) -> dict[str, int]:
    """By name, when each result was written."""
    found = sorted((folder / "cache").rglob("*.json"))
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in found}


def test_two_workers_write_the_lines_of_one_process_in_its_order(alone: Path, shared: Path) -> None:
    assert lines(shared) == lines(alone)
    assert {row["level"] for row in lines(shared)} == {"scores", "finetune"}


def test_workers_keep_results_where_one_process_looks_for_them(alone: Path, shared: Path) -> None:
    assert kept(shared).keys() == kept(alone).keys()


def test_a_second_start_after_workers_measures_nothing_again(
    shared: Path, config: GridConfig, public: Path
) -> None:
    before, text = kept(shared), (shared / "results.csv").read_bytes()
    run_grid(config, public, shared, Silent())
    assert kept(shared) == before
    assert (shared / "results.csv").read_bytes() == text


def _dies(bench: Bench, item: int) -> int:
    os._exit(1)


@pytest.fixture
def order(config: GridConfig, public: Path, tmp_path: Path) -> Order:
    return Order(config, public, tmp_path, 2)


@pytest.fixture
def bench(order: Order) -> Bench:
    return Bench(order.config, order.public_data, order.out, Silent())


def test_an_error_of_a_worker_comes_through(bench: Bench, order: Order, tmp_path: Path) -> None:
    elsewhere = Order(order.config, tmp_path / "nothing", order.out, 2)
    with pytest.raises(UserError, match="nothing"), measuring(bench, elsewhere) as each:
        list(each(_dies, [7]))


def test_a_worker_that_dies_is_told_in_words(bench: Bench, order: Order) -> None:
    with pytest.raises(UserError, match="fewer --workers"), measuring(bench, order) as each:
        list(each(_dies, [7]))


def test_plans_of_one_data_set_and_filter_stay_together(
    model_folder: Path, public: Path, tmp_path: Path
) -> None:
    plans = Bench(small_grid(model_folder), public, tmp_path, Silent()).plans
    groups = related(plans)
    assert sorted(number for group in groups for number in group) == list(range(len(plans)))
    places = [{(plans[one].data_set.cell, plans[one].filter) for one in group} for group in groups]
    assert all(len(place) == 1 for place in places)
    assert len(set.union(*places)) == len(groups)


@pytest.mark.parametrize(
    ("device", "count", "expected"),
    [
        ("auto", 0, [None, None, None]),
        ("auto", 1, [None, None, None]),
        ("auto", 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("cuda:1", 2, [None, None, None]),
    ],
)
def test_workers_take_accelerators_in_turn(
    monkeypatch: pytest.MonkeyPatch, device: str, count: int, expected: list[str | None]
) -> None:
    place = torch.device("cuda") if count else None
    monkeypatch.setattr(workers.torch.accelerator, "device_count", lambda: count)
    monkeypatch.setattr(workers.torch.accelerator, "current_accelerator", lambda: place)
    assert [own_device(device, number) for number in range(3)] == expected


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(("count", "expected"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_workers_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, count: int, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(4)
    share_cores(count)
    assert torch.get_num_threads() == expected


@pytest.mark.usefixtures("_threads")
def test_the_users_number_of_threads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    torch.set_num_threads(4)
    share_cores(2)
    assert torch.get_num_threads() == 4
