"""The identity of a run changes with everything that decides its scores, and with nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from gradshield.config import RunConfig
from gradshield.data import open_source
from gradshield.models.load import LoadedModel
from gradshield.run.provenance import (
    hardware,
    run_identity,
    run_record,
    tokenizer_sha256,
    versions,
    weights_sha256,
)
from tests.run.data_files import good_rows, write_jsonl


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "data.jsonl", good_rows(4))


def _identity(loaded: LoadedModel, data: Path, /, **changes: Any) -> dict[str, Any]:
    config = RunConfig.model_validate({"data_path": str(data), **changes})
    return run_identity(config, loaded, open_source(data))


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"name": "other"}},
        {"model": {"adapter": "a"}},
        {"data": {"format": "alpaca"}},
        {"data": {"response": "last"}},
        {"data": {"max_length": 99}},
        {"scoring": {"proxy": "first_token"}},
        {"scoring": {"probes_seed": 1}},
        {"scoring": {"modules": "mlp"}},
        {"scoring": {"take_out": "benign"}},
        {"scoring": {"engine": "per_example"}},
        {"scoring": {"batch_tokens": 9}},
    ],
)
def test_settings_that_decide_scores_change_it(
    loaded: LoadedModel, data: Path, change: dict[str, Any]
) -> None:
    assert _identity(loaded, data, **change) != _identity(loaded, data)


def test_settings_of_the_decision_do_not(loaded: LoadedModel, data: Path) -> None:
    changes = {"threshold": {"rule": "paper", "level": 0.5, "seed": 3}, "on_reject": "fail"}
    assert _identity(loaded, data, **changes) == _identity(loaded, data)


def test_place_of_the_data_does_not_but_its_content_does(
    loaded: LoadedModel, data: Path, tmp_path: Path
) -> None:
    before = _identity(loaded, data)
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(data.read_bytes())
    assert _identity(loaded, moved) == before
    data.write_bytes(data.read_bytes() + b"\n")
    assert _identity(loaded, data) != before


def test_one_weight_changes_the_hash_of_the_weights(loaded: LoadedModel) -> None:
    model = copy.deepcopy(loaded.model)
    before = weights_sha256(model)
    assert before == weights_sha256(loaded.model)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    assert weights_sha256(model) != before
    assert len(weights_sha256(model.to(torch.bfloat16))) == 64


def test_vocabulary_and_template_change_the_hash_of_the_tokenizer(loaded: LoadedModel) -> None:
    tokenizer = copy.deepcopy(loaded.tokenizer)
    before = tokenizer_sha256(tokenizer)
    tokenizer.chat_template = str(tokenizer.chat_template) + " "
    other_template = tokenizer_sha256(tokenizer)
    tokenizer.add_tokens(["\N{SNOWMAN}"])
    assert len({before, other_template, tokenizer_sha256(tokenizer)}) == 3


def test_record_names_data_command_versions_and_hardware(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "data.jsonl", good_rows(1))
    record = run_record(open_source("data.jsonl"))
    assert record["data"] == str((tmp_path / "data.jsonl").resolve())
    assert record["files"] == 1
    assert set(record) == {"data", "files", "command", "started", "versions", "hardware"}
    assert record["command"]
    assert record["started"].endswith("+00:00")
    assert {"python", "gradshield", "torch", "transformers"} <= set(versions())
    assert "not installed" not in versions().values()
    assert hardware()["cores"] >= 1
