"""`apply` on inputs of many files, on run folders made by hand: no model is needed."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict, load_from_disk

from gradshield.config import RunConfig
from gradshield.data import open_source
from gradshield.errors import UserError
from gradshield.run.actions import DECISION, FIHS, WEIGHT
from gradshield.run.apply import RowsRejected, apply
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.source import check_apart, reopen_input
from gradshield.scoring.table import rejected_line, write_part

SCORES = [-1.0, 0.5, None, 0.4, 2.0]
"""At the threshold 0.5: rows 0 and 3 are kept, 1 and 4 removed, 2 rejected."""
PARTS = {"kept": (0, 3), "removed": (1, 4), "rejected": (2,)}


def line(number: int) -> bytes:
    return b'{"prompt": "n%d",  "completion": "b"}\r\n' % number


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Rows 0 and 1, none, and 2 to 4."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, numbers in {"s1": (0, 1), "s2": (), "s10": (2, 3, 4)}.items():
        (folder / f"{name}.jsonl").write_bytes(b"".join(map(line, numbers)))
    return folder


def run_of(name: Path | str, folder: Path, **options: Any) -> RunFolder:
    run = RunFolder(folder / "run")
    lines = [
        rejected_line(row, None, "")
        | {"fihs": fihs, "status": "rejected" if fihs is None else "scored"}
        for row, fihs in enumerate(SCORES)
    ]
    write_part(lines, run.scores / "part-00000.parquet")
    write_json(run.rejections, [])
    write_json(run.decision, {"threshold": 0.5})
    source = open_source(name, **options)
    identity = {"data_sha256": source.sha256()}
    write_json(run.provenance, {"data": source.location, "identity": identity})
    return run


def settings(name: Path | str, **changes: Any) -> RunConfig:
    return RunConfig.model_validate({"data_path": str(name), **changes})


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("pattern", ["", "/*.jsonl", "/s*"])
def test_each_file_has_its_like(data: Path, tmp_path: Path, pattern: str) -> None:
    name = f"{data}{pattern}"
    before = contents(data)
    folder = run_of(name, tmp_path)
    apply(settings(name), folder)
    assert contents(folder.path / "kept") == {
        "s1.jsonl": line(0),
        "s2.jsonl": b"",
        "s10.jsonl": line(3),
    }
    assert contents(folder.path / "removed")["s10.jsonl"] == line(4)
    assert contents(folder.path / "rejected")["s10.jsonl"] == line(2)
    assert contents(data) == before


def test_rejected_rows_that_are_kept_stand_in_their_place(data: Path, tmp_path: Path) -> None:
    folder = run_of(data, tmp_path)
    apply(settings(data, on_reject="keep"), folder)
    assert contents(folder.path / "kept")["s10.jsonl"] == line(2) + line(3)
    with pytest.raises(RowsRejected):
        apply(settings(data, on_reject="fail"), folder)
    assert folder.written("kept") == []


def test_another_number_of_files_takes_the_place_of_the_last(data: Path, tmp_path: Path) -> None:
    folder = run_of(data, tmp_path)
    apply(settings(data, shards=2, action="downweight"), folder)
    assert contents(folder.path / "kept") == {
        "kept-00000-of-00002.jsonl": line(0),
        "kept-00001-of-00002.jsonl": line(3),
    }
    assert list(contents(folder.path / "rejected")) == ["rejected-00000-of-00001.jsonl"]
    assert sorted(contents(folder.path / "annotated")) == [
        "annotated-00000-of-00002.jsonl",
        "annotated-00001-of-00002.jsonl",
    ]
    apply(settings(data), folder)
    assert sorted(contents(folder.path / "kept")) == ["s1.jsonl", "s10.jsonl", "s2.jsonl"]
    assert folder.written("annotated") == []


def test_one_file_becomes_many_and_one_again(data: Path, tmp_path: Path) -> None:
    single = tmp_path / "single.jsonl"
    single.write_bytes(b"".join(map(line, range(5))))
    folder = run_of(single, tmp_path)
    apply(settings(single, shards=2), folder)
    # What somebody else put there stays.
    (folder.path / "kept.mine.txt").write_text("mine")
    assert [path.name for path in folder.written("kept")] == ["kept"]
    apply(settings(single), folder)
    assert [path.name for path in folder.written("kept")] == ["kept.jsonl"]
    assert folder.output("kept", ".jsonl").read_bytes() == line(0) + line(3)
    assert (folder.path / "kept.mine.txt").read_text() == "mine"


@pytest.mark.parametrize("action", ["annotate", "downweight"])
def test_annotated_rows_stay_in_their_files(data: Path, tmp_path: Path, action: str) -> None:
    folder = run_of(data, tmp_path)
    apply(settings(data, action=action), folder)
    found = contents(folder.path / "annotated")
    assert sorted(found) == ["s1.jsonl", "s10.jsonl", "s2.jsonl"]
    rows = [
        json.loads(row)
        for name in ("s1", "s2", "s10")
        for row in found[f"{name}.jsonl"].splitlines()
    ]
    assert [row["prompt"] for row in rows] == [f"n{number}" for number in range(5)]
    assert [row[FIHS] for row in rows] == SCORES
    weights = [row.get(WEIGHT) for row in rows]
    assert weights == ([1.0, 1.0, 0.0, 1.0, 0.25] if action == "downweight" else [None] * 5)
    assert json.loads(folder.decision.read_text())["annotated"] == 5


def test_tables_of_other_columns_are_annotated_each_for_itself(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    longer = pa.table({"text": ["2", "3", "4"], "n": [2, 3, 4]})
    pq.write_table(pa.table({"text": ["0", "1"]}), tmp_path / "data" / "a.parquet")
    pq.write_table(longer, tmp_path / "data" / "b.parquet")
    pq.write_table(longer.slice(0, 0), tmp_path / "data" / "c.parquet")
    folder = run_of(tmp_path / "data", tmp_path)
    apply(settings(tmp_path / "data", action="annotate"), folder)
    found = pq.ParquetFile(folder.path / "annotated" / "b.parquet").read()
    assert found.to_pydict() == {
        "text": ["2", "3", "4"],
        "n": [2, 3, 4],
        FIHS: SCORES[2:],
        DECISION: ["rejected", "kept", "removed"],
    }
    assert pq.ParquetFile(folder.path / "annotated" / "c.parquet").read().num_rows == 0
    before = contents(folder.path)
    with pytest.raises(UserError, match="leave out --shards"):
        apply(settings(tmp_path / "data", action="annotate", shards=1), folder)
    assert contents(folder.path) == before


def test_arrow_files_are_annotated_as_parquet(tmp_path: Path) -> None:
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), pa.schema([("text", pa.string())])) as writer:
        writer.write_table(pa.table({"text": list("01234")}))
    folder = run_of(tmp_path / "a.arrow", tmp_path)
    apply(settings(tmp_path / "a.arrow", action="annotate"), folder)
    assert pq.read_table(folder.output("annotated", ".parquet"))[FIHS].to_pylist() == SCORES
    assert folder.output("kept", ".arrow").is_file()


def test_compressed_files_keep_names_and_bytes(data: Path, tmp_path: Path) -> None:
    for path in list(data.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    folder = run_of(f"{data}/*.jsonl.gz", tmp_path)
    apply(settings(f"{data}/*.jsonl.gz", action="annotate"), folder)
    kept = contents(folder.path / "kept")
    assert gzip.decompress(kept["s10.jsonl.gz"]) == line(3)
    assert sorted(contents(folder.path / "annotated")) == ["s1.jsonl", "s10.jsonl", "s2.jsonl"]


def test_the_split_of_a_dictionary(tmp_path: Path) -> None:
    split = Dataset.from_dict({"text": list("01234")})
    DatasetDict({"train": split, "test": split}).save_to_disk(tmp_path / "data")
    folder = run_of(tmp_path / "data", tmp_path, split="test")
    config = settings(tmp_path / "data", input={"split": "test"}, action="annotate", shards=2)
    apply(config, folder)
    kept = load_from_disk(str(folder.path / "kept_rows"))
    assert {name: rows["text"][:] for name, rows in kept.items()} == {"test": ["0", "3"]}
    assert len(contents(folder.path / "annotated")) == 2


@pytest.mark.parametrize("change", ["added", "renamed", "gone", "edited"])
def test_any_change_of_the_files_is_noticed(data: Path, tmp_path: Path, change: str) -> None:
    folder = run_of(data, tmp_path)
    if change == "added":
        (data / "s11.jsonl").write_bytes(line(5))
    elif change == "renamed":
        (data / "s1.jsonl").rename(data / "s3.jsonl")
    elif change == "gone":
        shutil.rmtree(data)
    else:
        (data / "s1.jsonl").write_bytes(line(1) + line(0))
    with pytest.raises(UserError, match=r"has changed since it was scored|is gone"):
        apply(settings(data), folder)
    assert folder.written("kept") == []


def test_patterns_and_fetched_files_are_found_from_any_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = run_of("data/*.jsonl", tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    apply(settings("data/*.jsonl"), folder)
    assert len(contents(folder.path / "kept")) == 3
    # What is named on the hub lies in a file, where the run has it from.
    provenance = json.loads(folder.provenance.read_text())
    write_json(folder.provenance, provenance | {"data": str(data / "s1.jsonl")})
    source = reopen_input(settings("hub:owner/name", input={"split": "train"}), folder)
    assert source.counts == (2,)


@pytest.mark.parametrize(
    ("pattern", "run", "refused"),
    [
        ("data/*.jsonl", "run", False),
        ("data/*.jsonl", "data/run", False),
        ("data/s1.jsonl", "data/run", False),
        ("data", "data/run", True),
        ("data/**/*.jsonl", "data/run", True),
        ("data/*.jsonl", "data", True),
        ("data/*.jsonl", ".", True),
        ("data/s1.jsonl", "data", True),
        ("data/s1.jsonl", "data/s1.jsonl", True),
    ],
)
def test_input_and_run_do_not_lie_in_each_other(
    data: Path, tmp_path: Path, pattern: str, run: str, refused: bool
) -> None:
    source = open_source(tmp_path / pattern)
    if refused:
        with pytest.raises(UserError, match="lie in each other"):
            check_apart(source, tmp_path / run)
    else:
        check_apart(source, tmp_path / run)
