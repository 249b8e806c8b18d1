"""`gradshield score`: interrupted runs go on, other runs are refused, the steps equal `filter`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gradshield.scoring import parts
from gradshield.scoring.score import score_examples
from tests.cli.command_line import gradshield
from tests.cli.conftest import RULE, FinishedRun
from tests.run.data_files import good_rows, mixed_jsonl, write_jsonl

PARTS = 4  # of 28 rows at 8 rows a part


class CountedScoring:
    """`score_examples` that counts the rows it scores and stops the process when told to."""

    def __init__(self, *, stop_at_call: int | None = None) -> None:
        self.stop_at_call = stop_at_call
        self.calls: list[list[int]] = []

    def __call__(self, loaded: Any, examples: Sequence[Any], *others: Any, **options: Any) -> Any:
        if len(self.calls) + 1 == self.stop_at_call:
            raise KeyboardInterrupt
        self.calls.append([example.row for example in examples])
        return score_examples(loaded, examples, *others, **options)


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(parts, "ROWS_PER_PART", 8)
    return monkeypatch


def _counted(patch: pytest.MonkeyPatch, *, stop_at_call: int | None = None) -> CountedScoring:
    counted = CountedScoring(stop_at_call=stop_at_call)
    patch.setattr("gradshield.scoring.lines.score_examples", counted)
    return counted


def _scores(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "scores").iterdir())}


@pytest.mark.parametrize("engine", ["finite_difference", "per_example"])
def test_interrupted_scoring_goes_on_and_ends_the_same(
    short_parts: pytest.MonkeyPatch, model_folder: Path, tmp_path: Path, engine: str
) -> None:
    data = mixed_jsonl(tmp_path / "mixed.jsonl")
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = ("-m", model_folder, "--engine", engine, *RULE)

    # First call: the reference; second: part 0; the third, part 1, is stopped.
    first = _counted(short_parts, stop_at_call=3)
    stopped = gradshield("filter", data, "-o", run, *options)
    assert stopped.code == 130
    assert "Stopped. What is done is kept: the same command goes on" in stopped.err
    assert "Traceback" not in stopped.err
    assert list(_scores(run)) == ["part-00000.parquet"]
    assert first.calls[1] == [0, 1, 3, 5, 6]
    before = (run / "scores" / "part-00000.parquet").stat().st_mtime_ns

    second = _counted(short_parts)
    resumed = gradshield("filter", data, "-o", run, *options)
    assert resumed.code == 0
    assert "Going on with the run" in resumed.err
    assert len(second.calls) == PARTS - 1
    assert {row for call in second.calls for row in call}.isdisjoint(first.calls[1])
    assert (run / "scores" / "part-00000.parquet").stat().st_mtime_ns == before

    _counted(short_parts)
    assert gradshield("filter", data, "-o", whole, *options).code == 0
    assert _scores(run) == _scores(whole)
    for name in ("decision.json", "rejections.json", "kept.jsonl", "removed.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_a_stopped_run_gives_no_decision(
    short_parts: pytest.MonkeyPatch, model_folder: Path, tmp_path: Path
) -> None:
    data, run = mixed_jsonl(tmp_path / "mixed.jsonl"), tmp_path / "run"
    _counted(short_parts, stop_at_call=3)
    assert gradshield("score", data, "-m", model_folder, "-o", run).code == 130
    outcome = gradshield("threshold", run)
    assert outcome.code == 1
    assert "stopped after 8 rows" in outcome.err
    assert not (run / "decision.json").exists()


def test_a_finished_run_is_not_scored_again(
    short_parts: pytest.MonkeyPatch, model_folder: Path, tmp_path: Path
) -> None:
    data, run = write_jsonl(tmp_path / "data.jsonl", good_rows(10)), tmp_path / "run"
    command = ("score", data, "-m", model_folder, "-o", run)
    assert gradshield(*command).code == 0
    counted = _counted(short_parts)
    assert gradshield(*command).code == 0
    assert counted.calls == []


def test_steps_give_the_files_of_filter(
    finished: FinishedRun, model_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    scored = gradshield("score", finished.data, "-m", model_folder, "-o", run, "--dtype", "float32")
    assert scored.code == 0
    assert f"gradshield threshold {run}" in scored.err
    assert scored.out == ""
    assert not (run / "kept.jsonl").exists()
    assert gradshield("threshold", run, *RULE).code == 0
    assert not (run / "kept.jsonl").exists()
    assert gradshield("apply", run).code == 0
    names = ("kept.jsonl", "removed.jsonl", "rejected.jsonl", "decision.json", "rejections.json")
    for name in (*names, "config.yaml", "scores/part-00000.parquet"):
        assert (run / name).read_bytes() == (finished.folder / name).read_bytes(), name


def test_a_run_of_other_inputs_is_refused_and_force_starts_over(
    model_folder: Path, tmp_path: Path
) -> None:
    data, run = write_jsonl(tmp_path / "data.jsonl", good_rows(8)), tmp_path / "run"
    command = ("score", data, "-m", model_folder, "-o", run)
    assert gradshield(*command).code == 0
    before = _scores(run)

    refused = gradshield(*command, "--proxy", "first_token")
    assert refused.code == 1
    assert "proxy: contrast there, first_token now" in refused.err
    assert "--force" in refused.err
    write_jsonl(data, good_rows(6))
    refused = gradshield(*command)
    assert refused.code == 1
    assert "data_sha256" in refused.err
    assert "proxy" not in refused.err
    assert _scores(run) == before

    assert gradshield(*command, "--force").code == 0
    assert _scores(run) != before
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["identity"]["proxy"] == "contrast"


def test_a_folder_of_other_files_is_never_taken(model_folder: Path, tmp_path: Path) -> None:
    data, folder = write_jsonl(tmp_path / "data.jsonl", good_rows(8)), tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("years of work")
    for force in ((), ("--force",)):
        outcome = gradshield("score", data, "-m", model_folder, "-o", folder, *force)
        assert outcome.code == 1
        assert "is no run folder" in outcome.err
        assert [path.name for path in folder.iterdir()] == ["chapter.txt"]
