"""Faults of the model in whole runs: an error before the rows are scored, or rows that say why."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from gradshield.config import RunConfig
from gradshield.errors import UserError
from gradshield.progress import Silent
from gradshield.run.filter import filter_data
from gradshield.run.folder import RunFolder
from gradshield.run.threshold import RowDecision
from gradshield.shield import GradShield
from tests.run.data_files import good_rows, write_jsonl
from tests.run.score_lines import score_lines
from tests.tiny_models import chat_tokenizer, tiny_llama

pytestmark = pytest.mark.filterwarnings(
    "ignore:This model answers", "ignore:The model predicts harmless"
)


def run(model: Path, rows: list[dict[str, Any]], folder: Path, dtype: str) -> RowDecision:
    data = write_jsonl(folder / "data.jsonl", rows)
    settings = {
        "data_path": str(data),
        "model": {"name": str(model), "dtype": dtype, "device": "cpu"},
        "threshold": {"rule": "paper"},
    }
    return filter_data(RunConfig.model_validate(settings), RunFolder(folder / "run"), Silent())


def larger(model_folder: Path, folder: Path, weight: str, factor: float) -> Path:
    """A copy of the model with one weight multiplied."""
    shutil.copytree(model_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[weight].mul_(factor)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("weight", "factor", "message"),
    [
        ("lm_head.weight", 2e4, "not made of finite numbers in float16"),
        ("model.layers.1.mlp.up_proj.weight", 3e3, r"in float16 on each of \d+ harmless"),
    ],
)
def test_overflow_is_told_before_any_row_is_scored(
    model_folder: Path, tmp_path: Path, weight: str, factor: float, message: str
) -> None:
    model = larger(model_folder, tmp_path / "model", weight, factor)
    with pytest.raises(UserError, match=message):
        run(model, good_rows(5), tmp_path, "float16")
    assert not (tmp_path / "run" / "scores").exists()


def _with_padding_token(folder: Path, model_folder: Path) -> Path:
    tokenizer = copy.deepcopy(chat_tokenizer())
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    shutil.copytree(model_folder, folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_rows_that_spell_a_token_without_embedding(model_folder: Path, tmp_path: Path) -> None:
    rows = good_rows(6)
    rows[2] = {"prompt": "Name [PAD] a river", "completion": "The Loire."}
    decision = run(_with_padding_token(tmp_path / "model", model_folder), rows, tmp_path, "float32")
    assert decision.rejected == (2,)
    reason = score_lines(RunFolder(tmp_path / "run"))[2]["reason"]
    assert reason.startswith("unknown_token: it holds the token")


def test_rows_that_spell_such_a_token_in_python() -> None:
    tokenizer = copy.deepcopy(chat_tokenizer())
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    lines = GradShield(tiny_llama(), tokenizer).score(
        [{"prompt": "a", "completion": "b [PAD]"}, {"prompt": "a", "completion": "b"}]
    )
    assert [line["status"] for line in lines] == ["rejected", "scored"]
