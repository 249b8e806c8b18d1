"""What comes in from reviewers: refused with the name of the override that is at fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gradshield.data import open_source
from gradshield.errors import UserError
from gradshield.run.apply import review_of
from gradshield.run.folder import RunFolder
from gradshield.run.incoming_overrides import read_exported
from tests.run.run_folders import exported, made_run, mark


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return made_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"row": 6}, r"override 2 \(row 6\): there is no such row, the input has 6"),
        ({"row": -1}, r"override 2 \(row -1\): row: "),
        ({"row": True}, r"override 2 .*row: "),
        ({"row": 10**30}, "override 2 .*"),
        ({"fingerprint": "0" * 64}, r"override 2 \(row 1\): the row is not the one that was"),
        ({"fingerprint": "x"}, r"override 2 \(row 1\): fingerprint: "),
        ({"action": "hold"}, r"override 2 \(row 1\): the action 'hold' is unknown, choose keep"),
        ({"reason": " \n"}, r"override 2 \(row 1\): its reason is empty"),
        ({"reason": "\ud800"}, r"override 2 \(row 1\): reason: "),
        ({"reason": None}, r"override 2 \(row 1\): reason: "),
        ({"reason": "x" * 4001}, r"override 2 \(row 1\): reason: "),
        ({"reviewer": ""}, r"override 2 \(row 1\): its reviewer is empty"),
        ({"time": "yesterday"}, r"override 2 \(row 1\): time: "),
        ({"time": "2026-11-26T07:00:00"}, r"override 2 \(row 1\): time: .*timezone"),
        ({"expire": "2026-11-26T07:00:00Z"}, r"override 2 \(row 1\): expire: "),
    ],
)
def test_an_override_that_cannot_be_applied_is_named(
    folder: RunFolder, change: dict[str, Any], words: str
) -> None:
    run = review_of(folder, open_source(folder.path.parent / "data.jsonl"))
    path = exported(folder, [mark(folder, 0, "keep"), mark(folder, 1, "keep", **{}) | change])
    with pytest.raises(UserError, match=words):
        read_exported(path, run)
    assert not folder.overrides.exists()


@pytest.mark.parametrize("entry", [None, 3, [], "keep", {}, {"row": 1}])
def test_what_is_no_override_is_named(folder: RunFolder, entry: Any) -> None:
    run = review_of(folder, open_source(folder.path.parent / "data.jsonl"))
    with pytest.raises(UserError, match=r"overrides\.json, override 1"):
        read_exported(exported(folder, [entry]), run)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "no file of overrides"),
        (b'{"version": 1, "run": "a"}', "no file of overrides"),
        (b'{"version": 2, "run": "a", "overrides": []}', "has the version 2"),
        (b'{"version": 1, "run": "a", "overrides": []}', "made for another run"),
        (b'{"version": 1, "overrides": []}', "made for another run"),
    ],
)
def test_a_file_that_is_not_of_this_run(folder: RunFolder, content: bytes, words: str) -> None:
    path = folder.path.parent / "overrides.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_exported(path, review_of(folder, open_source(folder.path.parent / "data.jsonl")))


def test_a_name_for_those_that_have_none(folder: RunFolder) -> None:
    run = review_of(folder, open_source(folder.path.parent / "data.jsonl"))
    nameless = mark(folder, 0, "keep")
    del nameless["reviewer"]
    path = exported(folder, [nameless, mark(folder, 1, "keep")])
    assert [one.reviewer for one in read_exported(path, run, "Bo")] == ["Bo", "Ada"]
    with pytest.raises(UserError, match="it has no reviewer"):
        read_exported(path, run)
