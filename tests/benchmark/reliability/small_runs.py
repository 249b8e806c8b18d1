"""A whole run in half a second: a tiny model, few probes, no drawn charts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.config import RunConfig
from gradshield.progress import Progress, Silent
from gradshield.reporting import score_charts
from gradshield.run.filter import filter_data
from gradshield.run.folder import RunFolder
from gradshield.scoring import parts
from tests.cli.command_line import gradshield
from tests.run.few_probes import few_probes


class Quiet(Silent):
    """Says nothing, of what a tiny model is worth either."""

    def warn(self, line: str) -> None:
        """Drop the line."""


def run_config(data: Path, model: Path, **settings: object) -> RunConfig:
    """Half of the rows are removed: the scores of a random model say nothing."""
    return RunConfig.model_validate(
        {
            "data_path": str(data),
            "model": {"name": str(model), "dtype": "float32", "device": "cpu"},
            "threshold": {"rule": "calibrated", "level": 0.5},
            **settings,
        }
    )


def small_filter(folder: Path, config: RunConfig, progress: Progress | None = None) -> None:
    """Run `filter` in parts of eight rows."""
    with few_probes(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS_PER_PART", 8)
        # Drawing takes longer than all the rest, and writes nothing.
        patch.setattr(score_charts, "svg_of", lambda chart: "<svg></svg>")
        filter_data(config, RunFolder(folder), progress or Quiet())


def one_command(folder: Path, command: str, *options: str) -> None:
    """Run one command on the run in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_charts, "svg_of", lambda chart: "<svg></svg>")
        outcome = gradshield(command, folder, *options)
    assert outcome.code == 0, outcome.err
