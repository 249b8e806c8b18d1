"""The tiny model and few probes, and one run over the troublesome file for many tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.command_line import Outcome, gradshield
from tests.run.conftest import _few_probes, model_folder
from tests.run.data_files import mixed_jsonl

__all__ = ["_few_probes", "model_folder"]


@dataclass(frozen=True)
class FinishedRun:
    """A run of `gradshield filter` over the troublesome file."""

    data: Path
    folder: Path
    bytes_before: bytes
    modified_before: int
    outcome: Outcome


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, _few_probes: None
) -> FinishedRun:
    scratch = tmp_path_factory.mktemp("finished")
    data = mixed_jsonl(scratch / "mixed.jsonl")
    before = data.read_bytes(), data.stat().st_mtime_ns
    folder = scratch / "run"
    outcome = gradshield(
        "filter", data, "--model", model_folder, "--out", folder, *RULE, "--dtype", "float32"
    )
    return FinishedRun(data, folder, *before, outcome)


# The scores of a random model say nothing: at this level both sides of the threshold have rows.
RULE = ("--threshold", "calibrated", "--level", "0.5")
