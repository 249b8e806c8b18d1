"""The record of the data files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from gradshield.benchmark.reliability.kills import untrue_records
from gradshield.durable import put_in_place
from gradshield.errors import UserError
from gradshield.files import sha256_of
from gradshield.run import apply as apply_step
from gradshield.run.apply import apply
from gradshield.run.folder import read_json, write_json
from gradshield.run.outputs import read_outputs
from tests.run.run_folders import made_run


def test_it_has_the_hash_of_every_file_that_was_written(tmp_path: Path) -> None:
    folder = made_run(tmp_path, action="annotate")
    record = read_outputs(folder)
    names = ["kept.jsonl", "removed.jsonl", "rejected.jsonl", "annotated.jsonl"]
    assert record["files"] == {name: sha256_of(folder.path / name) for name in names}
    assert record["scores_sha256"] == sha256_of(folder.scores)
    assert (record["action"], record["on_reject"], record["overrides"]) == ("annotate", "hold", {})


def test_a_write_that_stopped_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made_run(tmp_path)

    def stopped(*anything: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(apply_step, "_write_parts", stopped)
    with pytest.raises(KeyboardInterrupt):
        apply(folder.read_config(), folder)
    with pytest.raises(UserError, match=r"no outputs\.json.*gradshield apply"):
        read_outputs(folder)


@pytest.mark.parametrize("cut_at", range(1, 12))
def test_it_is_true_or_not_there_wherever_apply_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    folder = made_run(tmp_path, action="annotate")
    expected = read_outputs(folder)
    # Another threshold moves a row, in three of the four files.
    threshold = read_json(folder.decision) | {"threshold": 0.3}
    write_json(folder.decision, threshold)
    calls = 0

    def cut(draft: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == cut_at:
            raise KeyboardInterrupt
        put_in_place(draft, target)

    with monkeypatch.context() as patch:
        patch.setattr("gradshield.files.put_in_place", cut)
        with contextlib.suppress(KeyboardInterrupt):
            apply(folder.read_config(), folder)
    assert untrue_records(folder.path) == []
    assert folder.outputs.exists() == (cut_at > calls)
    apply(folder.read_config(), folder)
    assert untrue_records(folder.path) == []
    assert read_outputs(folder)["files"].keys() == expected["files"].keys()


def test_it_stays_where_nothing_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made_run(tmp_path, action="annotate")
    before = folder.outputs.read_bytes()

    def refused(*anything: object, **more: object) -> None:
        raise UserError("Row 3 cannot be written as JSON.")

    monkeypatch.setattr(apply_step, "write_annotated", refused)
    with pytest.raises(UserError, match="Row 3"):
        apply(folder.read_config(), folder)
    assert folder.outputs.read_bytes() == before
    monkeypatch.undo()
    folder.outputs.unlink()  # an earlier one was cut short: there is nothing to come back
    monkeypatch.setattr(apply_step, "write_annotated", refused)
    with pytest.raises(UserError, match="Row 3"):
        apply(folder.read_config(), folder)
    assert not folder.outputs.exists()
