"""The step `score`: what it stores, and what becomes of scores that are not finite."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gradshield.config import RunConfig
from gradshield.data import TokenizedExample, open_source
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import load_direction
from gradshield.progress import Silent
from gradshield.run import score as score_step
from gradshield.run.filter import filter_data
from gradshield.run.folder import RunFolder
from gradshield.run.reading import read_data
from gradshield.run.score import score
from gradshield.run.threshold import read_reference
from gradshield.scoring.engines import PerExample, PreparedEngine
from gradshield.scoring.engines.base import WINDOW, ExampleScore
from gradshield.scoring.score import prepare_engine
from tests.run.data_files import good_rows, split_file, write_jsonl
from tests.run.score_lines import score_lines

pytestmark = pytest.mark.filterwarnings("ignore:This model answers")


def faulty_engine(faults: dict[int, dict[str, float]]) -> Callable[..., PreparedEngine]:
    """Makes an engine ready that puts other values into the scores of some rows."""

    def prepare(loaded: LoadedModel, direction: Any, *others: Any) -> PreparedEngine:
        exact = PerExample(tokens=False).prepare(loaded.model, direction, "sum", [])

        def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
            return [replace(one, **faults.get(one.row, {})) for one in exact.score(batch)]  # type: ignore[arg-type]

        return PreparedEngine(score)

    return prepare


def _config(data: Path, model_folder: Path, **scoring: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data_path": str(data),
            "model": {"name": str(model_folder), "dtype": "float32", "device": "cpu"},
            "scoring": scoring,
            "threshold": {"rule": "paper"},
        }
    )


def test_scores_that_are_not_finite_are_rejected(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {
        1: {"fihs": math.nan},
        4: {"fihs": math.inf},
        6: {"fihs": -math.inf},
        7: {"loss": math.nan},
    }
    monkeypatch.setattr(score_step, "prepare_engine", faulty_engine(faults))
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(9))
    folder = RunFolder(tmp_path / "run")
    rows = filter_data(_config(data, model_folder), folder, Silent())
    assert rows.rejected == (1, 4, 6, 7)
    assert sorted((*rows.kept, *rows.removed)) == [0, 2, 3, 5, 8]
    lines = split_file(data)
    assert split_file(folder.output("rejected", ".jsonl")) == [lines[row] for row in (1, 4, 6, 7)]
    rejections = json.loads(folder.rejections.read_text())
    assert [(entry["row"], entry["line"]) for entry in rejections] == [
        (1, 2),
        (4, 5),
        (6, 7),
        (7, 8),
    ]
    assert {entry["reason"] for entry in rejections} == {"non_finite_score"}
    assert "--dtype float32" in rejections[0]["detail"]
    assert "non_finite_score" in folder.summary.read_text(encoding="utf-8")
    # The reference is scored by the same engine: its first faults are left out, not taken as 0.
    reference = read_reference(folder)
    assert reference is not None
    assert all(map(math.isfinite, reference))


def test_engines_agree_on_a_whole_run(model_folder: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(8))
    scores = {}
    for engine in ("per_example", "jvp", "finite_difference"):
        folder = RunFolder(tmp_path / engine)
        score(_config(data, model_folder, engine=engine), folder, Silent())
        scores[engine] = [line["fihs"] for line in score_lines(folder)]
    exact = torch.tensor(scores["per_example"])
    for engine in ("jvp", "finite_difference"):
        error = (torch.tensor(scores[engine]) - exact).abs().max() / exact.abs().max()
        assert error < 2e-3


def _sum_and_worst(tokens: Sequence[float] | None) -> float:
    """The sum, and the largest sum over a window of tokens side by side, one after the other."""
    assert tokens is not None
    starts = range(max(1, len(tokens) - WINDOW + 1))
    return sum(tokens) + max(sum(tokens[start : start + WINDOW]) for start in starts)


def test_stored_direction_is_the_one_that_scores(
    model_folder: Path, loaded: LoadedModel, tmp_path: Path
) -> None:
    long = {"prompt": "Name a river", "completion": "No. The Loire. " * WINDOW}
    data = write_jsonl(tmp_path / "data.jsonl", [*good_rows(4), long])
    folder = RunFolder(tmp_path / "run")
    score(_config(data, model_folder, engine="per_example"), folder, Silent())
    direction = load_direction(folder.direction)
    names = set(load_file(folder.direction))
    # Not attention, in the last half of two blocks.
    assert names == {f"model.layers.1.mlp.{part}_proj" for part in ("gate", "up", "down")}
    assert direction.record["proxy"] == "contrast"
    assert direction.record["probe_attack_success_rate"] == 1.0

    source = open_source(data)
    data_read = read_data(_config(data, model_folder), loaded, Silent(), source)
    assert max(one.response_tokens for one in data_read.examples) > WINDOW
    engine = PerExample().prepare(loaded.model, direction, "sum", [])
    expected = [_sum_and_worst(score.token_fihs) for score in engine.score(data_read.examples)]
    assert [line["fihs"] for line in score_lines(folder)] == pytest.approx(expected, rel=1e-6)


def test_a_run_that_goes_on_sums_over_layers_in_the_same_order(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file keeps layers in another order than the model: sums could round differently."""
    orders: list[list[str]] = []

    def listening(loaded: Any, direction: Any, *others: Any) -> Any:
        orders.append(list(direction.tensors))
        return prepare_engine(loaded, direction, *others)

    monkeypatch.setattr(score_step, "prepare_engine", listening)
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(4))
    folder = RunFolder(tmp_path / "run")
    score(_config(data, model_folder), folder, Silent())
    shutil.rmtree(folder.scores)
    score(_config(data, model_folder), folder, Silent())
    assert len(orders) == 2
    assert orders[0] == orders[1]


def test_benign_part_and_modules_reach_the_direction(model_folder: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(4))
    folder = RunFolder(tmp_path / "run")
    config = _config(data, model_folder, modules="mlp", take_out="benign", proxy="token_sets")
    score(config, folder, Silent())
    direction = load_direction(folder.direction)
    assert all("mlp" in name for name in direction.tensors)
    assert direction.record["take_out"] == "benign"
    assert direction.record["proxy"] == "token_sets"


def test_stored_answers_hold_tokens_and_no_text(model_folder: Path, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "data.jsonl", good_rows(4))
    folder = RunFolder(tmp_path / "run")
    score(_config(data, model_folder), folder, Silent())
    stored = json.loads(folder.answers.read_text())
    assert set(stored) == {"harmful", "ordinary"}
    for prompt_ids, token_ids, finished in (*stored["harmful"], *stored["ordinary"]):
        assert all(isinstance(token, int) for token in (*prompt_ids, *token_ids))
        assert isinstance(finished, bool)


def test_long_rows_are_cut_and_said_to_be(model_folder: Path, tmp_path: Path) -> None:
    class Listening(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def say(self, line: str) -> None:
            self.lines.append(line)

    rows = [*good_rows(3), {"prompt": "Name a river", "completion": "xyz " * 80}]
    data = write_jsonl(tmp_path / "data.jsonl", rows)
    config = _config(data, model_folder)
    config = config.model_copy(update={"data": config.data.model_copy(update={"max_length": 90})})
    folder, progress = RunFolder(tmp_path / "run"), Listening()
    score(config, folder, progress)
    assert [line["truncated"] for line in score_lines(folder)] == [False, False, False, True]
    assert any(line.startswith("1 rows are longer than 90 tokens") for line in progress.lines)
