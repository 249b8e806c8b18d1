"""Who may use a run folder, and JSON that is always valid."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from gradshield.config import RunConfig
from gradshield.durable import remove
from gradshield.errors import UserError
from gradshield.run.folder import RunFolder, write_json

IDENTITY = {"data_sha256": "a" * 64, "proxy": "contrast", "max_length": 2048, "adapter": None}


def test_a_new_folder_is_claimed_and_then_continued(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "deep" / "run")
    assert folder.claim(IDENTITY, {"started": "now"}, force=False) is False
    assert json.loads(folder.provenance.read_text()) == {"identity": IDENTITY, "started": "now"}
    assert folder.claim(IDENTITY, {"started": "later"}, force=False) is True
    assert json.loads(folder.provenance.read_text())["started"] == "now"


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).claim(IDENTITY, {}, force=False) is False


def test_other_inputs_are_refused_with_every_difference(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(IDENTITY, {}, force=False)
    folder.decision.write_text("{}")
    with pytest.raises(UserError) as caught:
        folder.claim(IDENTITY | {"proxy": "x", "max_length": 9, "new": 1}, {}, force=False)
    text = str(caught.value)
    assert "max_length: 2048 there, 9 now" in text
    assert "proxy: contrast there, x now" in text
    assert "new: None there, 1 now" in text
    assert "data_sha256" not in text
    assert folder.decision.exists()


def test_a_long_value_is_shortened(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(IDENTITY, {}, force=False)
    with pytest.raises(UserError, match=f"data_sha256: {'a' * 16}… there, b now"):
        folder.claim(IDENTITY | {"data_sha256": "b"}, {}, force=False)


def test_force_throws_the_other_run_away(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(IDENTITY, {}, force=False)
    folder.decision.write_text("{}")
    assert folder.claim(IDENTITY | {"proxy": "x"}, {}, force=True) is False
    assert [path.name for path in folder.path.iterdir()] == ["provenance.json"]


def test_force_deletes_what_a_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(IDENTITY, {}, force=False)
    for path in (folder.summary, folder.output("kept", ".jsonl"), folder.path / "notes.txt"):
        path.write_text("x")
    for path in (folder.scores, folder.output("removed", "_rows"), folder.path / "figures"):
        path.mkdir()
        (path / "a").write_text("x")
    folder.claim(IDENTITY | {"proxy": "x"}, {}, force=True)
    left = sorted(path.name for path in folder.path.iterdir())
    assert left == ["figures", "notes.txt", "provenance.json"]
    assert (folder.path / "figures" / "a").read_text() == "x"


@pytest.mark.parametrize("cut_at", range(1, 30, 4))
def test_a_clearing_that_was_cut_short_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_at: int
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(IDENTITY, {}, force=False)
    (folder.path / "notes.txt").write_text("x")
    written = ("outputs.json", "kept.jsonl", "rejections.json", "engine.json", "config.yaml")
    for name in (*written, "scores/part-00000.parquet", "direction.safetensors"):
        (folder.path / name).parent.mkdir(exist_ok=True)
        (folder.path / name).write_text("x")
    calls = 0

    def cut(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == cut_at:
            raise KeyboardInterrupt
        remove(path)

    other = IDENTITY | {"proxy": "x"}
    with monkeypatch.context() as patch:
        patch.setattr("gradshield.run.folder.remove", cut)
        with contextlib.suppress(KeyboardInterrupt):
            folder.claim(other, {}, force=True)
    there = {name for name in written if (folder.path / name).exists()}
    # What says that a step is done does not outlive what the step has made.
    assert folder.scores.exists() or "rejections.json" not in there
    assert "kept.jsonl" in there or "outputs.json" not in there
    assert not folder.scores.exists() or "engine.json" in there
    assert folder.read_identity() in (IDENTITY, other)
    folder.claim(other, {}, force=True)
    assert folder.read_identity() == other
    left = sorted(path.name for path in folder.path.iterdir())
    assert left == ["notes.txt", "provenance.json"]


def test_locks_and_drafts_do_not_make_a_folder_somebodys(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".provenance.json.abcd0123.draft").mkdir()
    assert not RunFolder(tmp_path).holds_something()
    assert RunFolder(tmp_path).claim(IDENTITY, {}, force=False) is False


def test_force_keeps_a_run_of_the_same_inputs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.claim(IDENTITY, {}, force=False)
    folder.decision.write_text("{}")
    assert folder.claim(IDENTITY, {}, force=True) is True
    assert folder.decision.exists()


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("content", [None, '{"author": "someone"}'])
def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, force: bool, content: str | None
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    if content is not None:
        (tmp_path / "provenance.json").write_text(content)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match="no run folder"):
        RunFolder(tmp_path).claim(IDENTITY, {}, force=force)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.jsonl").write_text("{}")
    with pytest.raises(UserError, match="no run folder"):
        RunFolder(tmp_path / "kept.jsonl").claim(IDENTITY, {}, force=True)
    assert (tmp_path / "kept.jsonl").read_text() == "{}"


def test_the_configuration_comes_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    config = RunConfig.model_validate(
        {"data_path": "dätä: [1].jsonl", "threshold": {"level": 0.1, "rule": "paper"}}
    )
    folder.write_config(config)
    assert folder.read_config() == config


def test_a_folder_cannot_let_a_model_run_its_code(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    trusted = {"data_path": "a", "model": {"name": "x/y", "trust_remote_code": True}}
    folder.write_config(RunConfig.model_validate(trusted))
    assert folder.read_config().model.trust_remote_code is False
    assert folder.read_config().model.name == "x/y"


def test_a_folder_without_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run folder"):
        RunFolder(tmp_path).read_config()


def test_json_takes_half_of_a_surrogate_pair(tmp_path: Path) -> None:
    content = {"key": "half \ud83d of ü", "list": [1.5, None]}
    write_json(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == content
    assert "ü" in (tmp_path / "a.json").read_text(encoding="utf-8")
