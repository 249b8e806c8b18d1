"""The last step of `make demo`: a finished run against the true labels."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.run.run_folders import made_run

SCRIPT = Path(__file__).parents[2] / "examples" / "evaluate_demo.py"


def test_found_and_lost_rows_are_told_by_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The threshold is 0.5: one of two explicit rows is above it, and one of two harmless ones.
    folder = made_run(tmp_path, [0.9, 0.1, 0.7, 0.2, 0.6, None])
    labels = tmp_path / "labels.csv"
    kinds = ["explicit_sure,1", "explicit_here,1", "identity_shift,1", "coding,0", "coding,0"]
    lines = [f"{row},{kind}" for row, kind in enumerate([*kinds, "coding,0"])]
    labels.write_text("\n".join(["row,kind,harmful", *lines]) + "\n", encoding="utf-8")
    runpy.run_path(str(SCRIPT))["main"](str(folder.path), str(labels))
    shown = capsys.readouterr().out
    assert "Explicit harmful rows found 50%, identity shift found 100%" in shown
    assert "harmless rows lost 50.0%" in shown
    # Explicit rows at 0.9 and 0.1 against harmless ones at 0.2 and 0.6: two of four pairs.
    assert "AUROC of explicit rows 0.500" in shown
