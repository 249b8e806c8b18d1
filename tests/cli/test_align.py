"""`gradshield align`: the options reach the recipe; the training itself is tested elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gradshield.cli import align as align_cli
from tests.cli.command_line import gradshield


def test_trains_the_named_model_and_says_how_to_check_it(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def train(loaded: Any, recipe: Any, out: Path, progress: Any) -> Any:
        seen.update(name=loaded.name, recipe=recipe.model, out=out, dtype=str(loaded.model.dtype))
        return SimpleNamespace(energy_kept=0.75)

    monkeypatch.setattr(align_cli, "align", train)
    out = tmp_path / "adapter"
    outcome = gradshield("align", "--out", out, "--model", model_folder)
    assert outcome.code == 0, outcome.err
    assert seen == {
        "name": str(model_folder),
        "recipe": str(model_folder),
        "out": out,
        "dtype": "torch.float32",
    }
    assert "75" in outcome.err.split("Check it with")[0]
    assert f"gradshield check --model {model_folder} --adapter {out}" in outcome.err
