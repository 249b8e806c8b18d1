"""Links, names and paths of others' making lead nowhere but where the user has said."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from gradshield.data import DataError, open_container
from gradshield.errors import UserError
from gradshield.files import sha256_of, write_text, written_whole
from gradshield.run.folder import RunFolder
from tests.cli.command_line import gradshield
from tests.cli.conftest import RULE, _few_probes, model_folder
from tests.run.data_files import good_rows, write_jsonl

__all__ = ["_few_probes", "model_folder"]

ROWS = {"prompt": ["Name a river", "Say hello"], "completion": ["The Loire.", "Hello"]}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Somebody's file that is none of ours."""
    path = tmp_path / "elsewhere" / "secret.jsonl"
    path.parent.mkdir()
    path.write_text("untouched")
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    Dataset.from_dict(ROWS).save_to_disk(tmp_path / "data")
    return tmp_path / "data"


class TestRunFolder:
    def test_a_link_in_a_run_folder_is_refused(
        self, tmp_path: Path, secret: Path, model_folder: Path
    ) -> None:
        data = write_jsonl(tmp_path / "data.jsonl", good_rows(24))
        run = tmp_path / "run"
        first = gradshield("filter", data, "--model", model_folder, "--out", run, *RULE)
        assert first.code == 0, first.err
        for name in ("kept.jsonl", "scores", "overrides.jsonl", "decision.json"):
            entry = run / name
            moved = tmp_path / "elsewhere" / name
            if entry.exists():
                shutil.move(entry, moved)
            entry.symlink_to(moved if moved.exists() else secret)
            before = sha256_of(tmp_path / "elsewhere")
            for command in (
                ("filter", data, "--model", model_folder, "--out", run, "--force"),
                ("apply", run),
                ("threshold", run),
            ):
                outcome = gradshield(*command)
                assert outcome.code == 1
                assert f"{name} is a symbolic link" in outcome.err
            assert sha256_of(tmp_path / "elsewhere") == before
            entry.unlink()
            if moved.exists():
                shutil.move(moved, entry)

    @pytest.mark.parametrize(
        "place", ["kept.jsonl", ".hidden", "scores/part-00000.parquet", "search/trials/one"]
    )
    def test_a_dangling_link_is_refused_too(self, tmp_path: Path, place: str) -> None:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).symlink_to(tmp_path / "nowhere")
        with pytest.raises(UserError, match="symbolic link"):
            RunFolder(tmp_path).claim({}, {}, force=True)

    def test_the_folder_itself_may_be_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "run").symlink_to(tmp_path / "disk")
        RunFolder(tmp_path / "run").claim({"a": 1}, {}, force=False)
        assert (tmp_path / "disk" / "provenance.json").is_file()

    @pytest.mark.parametrize("content", ["[", "{}", "[1]", "{" * 2000, "data_path: [", "!!x y"])
    def test_a_damaged_configuration_is_told(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "config.yaml").write_text(content)
        outcome = gradshield("threshold", tmp_path)
        assert outcome.code == 1
        assert "is not as a run writes it" in outcome.err

    @pytest.mark.parametrize("name", ["decision.json", "provenance.json", "rejections.json"])
    @pytest.mark.parametrize("content", ["[", "3", "[" * 9000])
    def test_damaged_records_are_told(self, tmp_path: Path, name: str, content: str) -> None:
        folder = RunFolder(tmp_path)
        (tmp_path / "config.yaml").write_text("data_path: data.jsonl")
        for record in ("decision.json", "provenance.json", "rejections.json"):
            (tmp_path / record).write_text("{}")
        (tmp_path / name).write_text(content)
        folder.scores.mkdir()
        (folder.scores / "part-00000.parquet").write_bytes(b"PAR1 no table PAR1")
        for command in ("apply", "threshold"):
            outcome = gradshield(command, tmp_path)
            assert outcome.code == 1
            assert "Traceback" not in outcome.err


class TestWriting:
    def test_a_link_is_replaced_and_not_written_through(self, tmp_path: Path, secret: Path) -> None:
        link = tmp_path / "kept.jsonl"
        link.symlink_to(secret)
        write_text(link, "new")
        assert not link.is_symlink()
        assert link.read_text() == "new"
        assert secret.read_text() == "untouched"

    def test_a_link_to_a_folder_too(self, tmp_path: Path, secret: Path) -> None:
        link = tmp_path / "kept_rows"
        link.symlink_to(secret.parent)
        with written_whole(link) as draft:
            draft.mkdir()
        assert not link.is_symlink()
        assert secret.read_text() == "untouched"

    def test_rows_do_not_go_through_a_link_either(self, tmp_path: Path, secret: Path) -> None:
        data = write_jsonl(tmp_path / "data.jsonl", good_rows(3))
        link = tmp_path / "kept.jsonl"
        link.symlink_to(secret)
        open_container(data).write_subset(data, [0, 2], link)
        assert not link.is_symlink()
        assert len(link.read_text().splitlines()) == 2
        assert secret.read_text() == "untouched"

    def test_drafts_are_for_the_owner_alone(self, tmp_path: Path) -> None:
        with written_whole(tmp_path / "a") as draft:
            assert draft.parent.stat().st_mode & 0o777 == 0o700
            draft.write_text("x")


class TestDatasetFolder:
    def test_rows_of_its_own_are_read(self, dataset: Path) -> None:
        assert len(open_container(dataset).read(dataset)) == 2
        linked = dataset.with_name("linked")
        linked.symlink_to(dataset)  # the folder is what the user names
        assert len(open_container(linked).read(linked)) == 2

    @pytest.mark.parametrize("what", ["arrow", "state.json", "dataset_info.json"])
    def test_a_link_that_leads_out(self, tmp_path: Path, dataset: Path, what: str) -> None:
        entry = next(dataset.glob(f"*{what}"))
        outside = Path(shutil.move(entry, tmp_path / "outside"))
        entry.symlink_to(outside)
        with pytest.raises(DataError, match="lies outside of the folder"):
            open_container(dataset)

    @pytest.mark.parametrize("absolute", [False, True])
    def test_a_name_that_leads_out(self, tmp_path: Path, dataset: Path, absolute: bool) -> None:
        Dataset.from_dict(ROWS).save_to_disk(tmp_path / "other")
        file = next((tmp_path / "other").glob("*.arrow"))
        state = json.loads((dataset / "state.json").read_text())
        state["_data_files"] = [{"filename": str(file if absolute else f"../other/{file.name}")}]
        (dataset / "state.json").write_text(json.dumps(state))
        with pytest.raises(DataError, match="lies outside of the folder"):
            open_container(dataset)

    def test_a_split_that_leads_out(self, tmp_path: Path, dataset: Path) -> None:
        folder = tmp_path / "splits"
        DatasetDict({"train": Dataset.from_dict(ROWS)}).save_to_disk(folder)
        (folder / "dataset_dict.json").write_text('{"splits": ["../data"]}')
        with pytest.raises(DataError, match="lies outside of the folder"):
            open_container(folder)

    @pytest.mark.parametrize("state", ["{", "[]", '{"_data_files": 3}', '{"_data_files": [{}]}'])
    def test_a_description_that_is_none(self, dataset: Path, state: str) -> None:
        (dataset / "state.json").write_text(state)
        with pytest.raises(DataError, match="names no files"):
            open_container(dataset)

    def test_code_in_the_folder_is_not_run(self, tmp_path: Path, dataset: Path) -> None:
        for name in ("data.py", "dataset.py", "__init__.py", "setup.py", "conftest.py"):
            (dataset / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        assert len(open_container(dataset).read(dataset)) == 2
        assert not (tmp_path / "ran").exists()


def test_names_of_files_cannot_forge_the_listing_that_is_hashed(tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    one.mkdir()
    (two / "a").write_text("x")
    (two / "b").write_text("y")
    (one / f"a {sha256_of(two / 'a')}\nb").write_text("y")
    assert sha256_of(one) != sha256_of(two)


NAMES = {
    "line feed": b"a\nb.jsonl",
    "escapes": b"\x1b]0;x\x07\x1b[2J.jsonl",
    "leading dash": b"--force.jsonl",
    "not UTF-8": b"\xff\xfe.jsonl",
    "long": b"x" * 240 + b".jsonl",
    "markup": b"<img src=x>`[a](b)|.jsonl",
    "markup of the console": b"[red]a[link=x] :boom:.jsonl",
    "spaces": b"  a b .jsonl",
    "right to left": "a\u202egnp.jsonl".encode(),
    "yaml": b"!!python: {a}&b *c #d.jsonl",
}


@pytest.mark.skipif(sys.platform == "win32", reason="such names cannot be there")
@pytest.mark.parametrize("kind", NAMES)
def test_a_whole_run_on_a_file_of_any_name(tmp_path: Path, model_folder: Path, kind: str) -> None:
    plain = write_jsonl(tmp_path / "plain.jsonl", good_rows(24))
    try:
        data = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), NAMES[kind])))
        data.write_bytes(plain.read_bytes())
    except OSError:
        pytest.skip("this file system has no such names")
    run = tmp_path / "run"
    outcome = gradshield("filter", data, "--model", model_folder, "--out", run, *RULE)
    assert outcome.code == 0, outcome.err
    again = gradshield("apply", run)
    assert again.code == 0, again.err
    listed = gradshield("apply", run, "--json")
    assert sum(json.loads(listed.out)[name] for name in ("kept", "removed", "rejected")) == 24
    summary = RunFolder(run).summary.read_text(encoding="utf-8")
    for text in (outcome.out, outcome.err, again.out, listed.out, summary):
        assert all(c.isprintable() or c == "\n" for c in text)
    assert RunFolder(run).read_config().data_path == str(data)


def test_a_name_that_begins_with_a_dash(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "-x.jsonl", good_rows(24))
    options = ("--model", model_folder, "--out", "run", *RULE)
    refused = gradshield("filter", "-x.jsonl", *options)
    assert refused.code == 1
    assert "Traceback" not in refused.err
    assert gradshield("filter", *options, "--", "-x.jsonl").code == 0
