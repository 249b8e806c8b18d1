from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.cli.command_line import gradshield
from tests.cli.conftest import FinishedRun


def test_a_direction_is_exported_as_two_adapters(finished: FinishedRun, tmp_path: Path) -> None:
    out = tmp_path / "adapters"
    outcome = gradshield("direction", "export", finished.folder, "--out", out, "--rank", 2)
    assert outcome.code == 0
    assert "energy kept at rank 2" in outcome.out
    assert "/ 0.004" in outcome.out
    above, below = (
        load_file(out / name / "adapter_model.safetensors") for name in ("above", "below")
    )
    assert above.keys() == below.keys()
    for name in above:
        if "lora_B" in name:
            assert (above[name] == -below[name]).all()
    settings = json.loads((out / "above" / "adapter_config.json").read_text())
    assert settings["r"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--step", 0], "--step 0.0: must be greater"), ([], "exists and is not empty")],
)
def test_faults_are_one_line(
    finished: FinishedRun, tmp_path: Path, arguments: list[object], words: str
) -> None:
    (tmp_path / "adapters").mkdir()
    if not arguments:
        (tmp_path / "adapters" / "mine.txt").write_text("keep me")
    outcome = gradshield(
        "direction", "export", finished.folder, "--out", tmp_path / "adapters", *arguments
    )
    assert outcome.code == 1
    assert words in outcome.err


def test_a_folder_without_a_run_is_told(tmp_path: Path) -> None:
    outcome = gradshield("direction", "export", tmp_path, "--out", tmp_path / "adapters")
    assert outcome.code == 1
    assert "is no run folder" in outcome.err
