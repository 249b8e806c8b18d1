from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.files import append_lines, sha256_of, write_text, written_whole


def test_a_file_takes_its_place_when_the_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    with written_whole(target) as draft:
        draft.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_a_fault_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def interrupted() -> None:
        with written_whole(target) as draft:
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with written_whole(target) as draft:
        draft.mkdir()
        (draft / "new").touch()
        assert (target / "old").exists()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_fault_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()

    def interrupted() -> None:
        with written_whole(target) as draft:
            draft.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in target.iterdir()] == ["old"]


def test_a_file_is_as_readable_as_any_other_new_file(tmp_path: Path) -> None:
    with written_whole(tmp_path / "target") as draft:
        draft.write_text("x")
        draft.chmod(0o600)  # as the safetensors library leaves it
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "target").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "é🤗\n")
    assert (tmp_path / "a").read_bytes() == "é🤗\n".encode()


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    # Longer than one block of reading.
    content = b"0123456789" * 200_000
    (tmp_path / "a").write_bytes(content)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_the_hash_of_a_folder_sees_contents_names_and_nothing_else(tmp_path: Path) -> None:
    def folder(name: str, entries: dict[str, str]) -> str:
        for place, content in entries.items():
            path = tmp_path / name / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return sha256_of(tmp_path / name)

    original = folder("1", {"a": "x", "sub/b": "y"})
    assert folder("2", {"sub/b": "y", "a": "x"}) == original
    assert folder("3", {"a": "x", "sub/b": "z"}) != original
    assert folder("4", {"a": "x", "sub/c": "y"}) != original
    assert folder("5", {"a": "x", "b": "y"}) != original


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_of_those_who_write_once_the_first_is_read_by_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    target = tmp_path / "a.txt"
    with written_whole(target, once=True) as slow:
        slow.write_text("slow")
        write_text(target, "fast", once=True)
        assert target.read_text() == "fast"
    assert target.read_text() == "fast"
    write_text(target, "forced")
    assert target.read_text() == "forced"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_lines_are_appended_whole(tmp_path: Path) -> None:
    target = tmp_path / "trail.jsonl"
    append_lines(target, [])
    assert not target.exists()
    append_lines(target, ["one", "é"])
    append_lines(target, ["three"])
    assert target.read_bytes() == "one\né\nthree\n".encode()


def test_a_full_disk_appends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "trail.jsonl"
    append_lines(target, ["one"])

    def full(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"trail\.jsonl cannot be written: disk full\."):
        append_lines(target, ["two"])
    assert target.read_bytes() == b"one\n"
