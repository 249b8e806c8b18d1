"""Invented public data, the tiny model, few probes, and one finished grid for many tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradshield.benchmark.grid import scores
from gradshield.benchmark.grid.config import GridConfig
from gradshield.benchmark.grid.lines import write_lines
from gradshield.benchmark.grid.run import run_grid
from gradshield.finetuning import trial
from gradshield.progress import Silent
from tests.benchmark.attacks.public_folder import write, write_public_folder
from tests.benchmark.grid.result_lines import line, measured
from tests.run.conftest import _few_probes, model_folder
from tests.run.few_probes import few_probes

__all__ = ["_few_probes", "model_folder"]


@pytest.fixture(scope="session")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_public_folder(tmp_path_factory.mktemp("public"))
    safe = "\n".join(f"{k},Kill process {k},homonyms,safe" for k in range(4))
    write(folder, "xstest/xstest_prompts.csv", f"id,prompt,type,label\n{safe}\n")
    return folder


def small_grid(model: Path) -> GridConfig:
    """Two shares, attacks with and without controls, every way to divide rows, two trainings."""
    finetunes = {
        "tasks": ["arithmetic"],
        "attacks": ["explicit"],
        "shares": [0, 0.2],
        "seeds": [0],
        "filters": ["none", "random", "oracle"],
        "training_methods": ["safe_instruct"],
        "search": {"filters": ["oracle"], "max_finetunes": 2},
        "training": {"learning_rate": 1e-3, "batch_size": 4, "lora": {"rank": 2}},
        "test_prompts": 3,
        "validation_prompts": 4,
        "over_refusal_prompts": 2,
        "utility_items": 3,
        "answer_tokens": 8,
    }
    again = {**finetunes, "filters": ["oracle", "mean_loss"], "search": None, "trainings": 2}
    return GridConfig.model_validate(
        {
            "model": {"name": str(model), "device": "cpu", "dtype": "float32"},
            "tasks": ["arithmetic"],
            "attacks": ["explicit", "harmless_lists"],
            "held_out_attacks": ["harmless_lists"],
            "shares": [0, 0.2],
            "rows": 10,
            "most_tokens": 512,
            "anchors": 4,
            "filters": ["none", "random", "oracle", "mean_loss", "gradshield"],
            "finetunes": [finetunes, again],
        }
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, public: Path) -> Path:
    out = tmp_path_factory.mktemp("grid")
    with few_probes():
        run_grid(small_grid(model_folder), public, out, Silent())
    return out


@pytest.fixture
def _measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scoring and finetuning are errors."""

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(scores, "score_with_cost", never)
    monkeypatch.setattr(trial.Trials, "_finetuned", never)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Invented results of two filters and a training method."""
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
