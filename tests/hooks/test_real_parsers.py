"""The trainers' own parsers and loaders read what the hooks write, where they are installed.

They are no dependency: `pip install --no-deps axolotl llamafactory` and a few packages that they
import (pillow, addict, python-dotenv, colorama, fire, omegaconf, einops; the versions that they ask
for need not be met: DISABLE_VERSION_CHECK=1).
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from gradshield.run.folder import RunFolder
from tests.cli.command_line import gradshield
from tests.hooks.configurations import axolotl_folder, llamafactory_folder
from tests.run.conftest import _few_probes, loaded, model_folder
from tests.tiny_models import chat_tokenizer

__all__ = ["_few_probes", "loaded", "model_folder"]

OPTIONS = ("--threshold", "calibrated", "--level", "0.25", "--dtype", "float32")
NEW = Path("train.gradshield.yaml")


def _import(name: str) -> Any:
    """A module of a trainer; the test is skipped where it, or what it imports, is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as fault:
        pytest.skip(f"{name}: {fault}")


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")


def _hook(trainer: str) -> dict[str, Any]:
    outcome = gradshield("hook", trainer, "train.yaml", *OPTIONS)
    assert outcome.code == 0, outcome.err
    content: dict[str, Any] = yaml.safe_load(NEW.read_text())
    return content


def _kept(number: int) -> list[dict[str, Any]]:
    [path] = Path("train.gradshield.runs").glob(f"{number}-*/kept.*")
    text = path.read_text()
    rows: list[dict[str, Any]] = (
        json.loads(text) if text.startswith("[") else [*map(json.loads, text.splitlines())]
    )
    assert rows
    return rows


@pytest.mark.usefixtures("_here")
def test_axolotl_reads_the_new_configuration(tmp_path: Path, model_folder: Path) -> None:
    schema = _import("axolotl.utils.schemas.config")
    shared = _import("axolotl.utils.data.shared")
    dicts = _import("axolotl.utils.dict")
    axolotl_folder(tmp_path, model_folder)
    content = _hook("axolotl")
    checked = schema.AxolotlInputConfig(**content)
    assert [entry.path for entry in checked.datasets] == [
        "train.gradshield.runs/0-chat/kept.jsonl",
        "train.gradshield.runs/1-more/kept.jsonl",
    ]
    for number, entry in enumerate(checked.datasets):
        config = dicts.DictDefault(entry.model_dump(exclude={"trust_remote_code"}))
        rows = shared.load_dataset_with_config(config, use_auth_token=False)
        assert list(rows) == _kept(number)


@pytest.mark.usefixtures("_here")
def test_axolotl_takes_masked_rows_as_they_are(tmp_path: Path, model_folder: Path) -> None:
    shared = _import("axolotl.utils.data.shared")
    wrappers = _import("axolotl.utils.data.wrappers")
    dicts = _import("axolotl.utils.dict")
    axolotl_folder(tmp_path, model_folder)
    outcome = gradshield(
        *("filter", "data/chat.jsonl", "-m", model_folder, "-o", "run", "--action", "mask"),
        *OPTIONS,
    )
    assert outcome.code == 0, outcome.err
    masked = RunFolder(Path("run")).masked
    entry = dicts.DictDefault({"path": str(masked)})
    rows = shared.load_dataset_with_config(entry, use_auth_token=False)
    wrapped, _ = wrappers.get_dataset_wrapper(
        entry, chat_tokenizer(), dicts.DictDefault({}), None, rows
    )
    assert list(wrapped) == pq.read_table(masked).to_pylist()


@pytest.fixture
def _no_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """LLaMA-Factory imports torchaudio, which text needs not."""
    if importlib.util.find_spec("torchaudio") is None:
        stub = ModuleType("torchaudio")
        stub.__spec__ = ModuleSpec("torchaudio", None)
        monkeypatch.setitem(sys.modules, "torchaudio", stub)


@pytest.mark.usefixtures("_here", "_no_sound")
def test_llamafactory_reads_the_new_configuration(tmp_path: Path, model_folder: Path) -> None:
    hparams = _import("llamafactory.hparams")
    parser = _import("llamafactory.data.parser")
    loader = _import("llamafactory.data.loader")
    llamafactory_folder(tmp_path, model_folder)
    content = _hook("llamafactory")
    model, data, training, _, _ = hparams.get_train_args({**content, "report_to": "none"})
    assert data.dataset == ["chat_gradshield", "alpaca_rows_gradshield"]
    assert data.media_dir == "data"
    model.cache_dir = str(tmp_path / "cache")
    found = parser.get_dataset_list(data.dataset, data.dataset_dir)
    assert [attributes.formatting for attributes in found] == ["sharegpt", "alpaca"]
    for number, attributes in enumerate(found):
        rows = loader._load_single_dataset(attributes, model, data, training)
        answers = [row["_response"][0]["content"] for row in rows]
        assert answers == [
            row["messages"][-1]["content"] if "messages" in row else row["output"]
            for row in _kept(number)
        ]
    # What the old names stand for is found from the new folder too.
    [old] = parser.get_dataset_list(["chat"], data.dataset_dir)
    assert len(loader._load_single_dataset(old, model, data, training)) == 8
