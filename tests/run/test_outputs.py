"""The record of the data files."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.files import sha256_of
from gradshield.run import apply as apply_step
from gradshield.run.apply import apply
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
