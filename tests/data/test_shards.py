"""Which files a pattern or a folder stands for, in which order, and of which kind."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from gradshield.data import DataError
from gradshield.data.shards import (
    common_container,
    files_of_folder,
    files_of_pattern,
    natural_order,
)


def made(folder: Path, *names: str, content: bytes = b'{"a": 1}\n') -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return paths


@pytest.mark.parametrize(
    "names",
    [
        ["part-2", "part-10", "part-100"],
        ["a/9", "a/10", "b/1"],
        ["train-00001-of-00010", "train-00010-of-00010"],
        ["x", "x1", "x1a", "x02", "xa"],
        ["1", "01", "2"],
    ],
)
def test_numbers_are_ordered_by_value(names: list[str]) -> None:
    expected = [Path(name) for name in names]
    if names[0] == "1":
        expected[:2] = [Path("01"), Path("1")]  # of one value: by their spelling
    assert natural_order(reversed(expected)) == expected


def test_a_pattern_stands_for_files_at_any_depth(tmp_path: Path) -> None:
    made(tmp_path, "a/x-10.jsonl", "a/x-9.jsonl", "b/x-1.jsonl", "b/c/y.jsonl", "b/c/y.txt")
    (tmp_path / "a" / "folder.jsonl").mkdir()

    def found(pattern: str) -> list[str]:
        return [
            p.relative_to(tmp_path).as_posix() for p in files_of_pattern(f"{tmp_path}/{pattern}")
        ]

    assert found("a/*.jsonl") == ["a/x-9.jsonl", "a/x-10.jsonl"]
    assert found("*/x-?.jsonl") == ["a/x-9.jsonl", "b/x-1.jsonl"]
    assert found("**/*.jsonl") == ["a/x-9.jsonl", "a/x-10.jsonl", "b/c/y.jsonl", "b/x-1.jsonl"]
    with pytest.raises(DataError, match="no file has a name of this pattern"):
        files_of_pattern(f"{tmp_path}/*.parquet")


def test_a_folder_stands_for_its_data_files(tmp_path: Path) -> None:
    made(tmp_path, "b.jsonl", "a.jsonl", "README.md", ".hidden.jsonl", "_SUCCESS", "c/d.jsonl")
    data, others = files_of_folder(tmp_path)
    assert [path.name for path in data] == ["a.jsonl", "b.jsonl"]
    assert [path.name for path in others] == ["README.md"]
    made(tmp_path, "infos.json", content=b'{\n "a": 1\n}\n')
    assert [path.name for path in files_of_folder(tmp_path)[1]] == ["README.md", "infos.json"]
    # Among .json files one that cannot be read is no description: rows would be lost.
    broken = made(tmp_path, "i/a.json", "i/b.json", content=b"7")
    made(tmp_path, "i/c.json", content=b"[1]")
    data, _ = files_of_folder(broken[0].parent)
    with pytest.raises(DataError, match=r"i/a.json: the file is of no kind"):
        common_container(data, "i")
    with pytest.raises(DataError, match=r"no data file in this folder.*save_to_disk"):
        files_of_folder(made(tmp_path, "e/README.md")[0].parent)
    made(tmp_path, "f/g/h.jsonl")
    with pytest.raises(DataError, match=r"pattern such as '.*/f/\*\*/\*.jsonl'"):
        files_of_folder(tmp_path / "f")


def test_all_files_are_of_one_kind(tmp_path: Path) -> None:
    lines = made(tmp_path, "a.jsonl", "b.jsonl") + made(tmp_path, "empty.jsonl", content=b"")
    assert common_container(lines, "d").name == "jsonl"
    # What an empty .json file holds, the others tell.
    arrays = made(tmp_path, "0.json", content=b"") + made(tmp_path, "1.json", content=b"[1]")
    assert common_container(arrays, "d").name == "json"
    zipped = made(tmp_path, "a.jsonl.gz", content=gzip.compress(b"{}"))
    with pytest.raises(DataError) as refusal:
        common_container([*lines, *zipped], "the data")
    assert str(refusal.value).startswith(
        "the data: the files are of several kinds: 3 of the kind jsonl (.jsonl), 1 of the kind "
        "jsonl, gzip (.jsonl.gz); name those of one kind"
    )
    with pytest.raises(DataError, match="of no kind that can be read"):
        common_container([*lines, *made(tmp_path, "x.json", content=b"7")], "d")
    with pytest.raises(DataError, match="all files are empty"):
        common_container(arrays[:1], "d")
