from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradshield.data import DataError, open_container


@pytest.mark.parametrize(
    ("name", "content", "container", "suffix"),
    [
        ("a.jsonl", b"{}\n", "jsonl", ".jsonl"),
        ("a.JSONL", b"{}\n", "jsonl", ".jsonl"),
        ("a.ndjson", b"{}", "jsonl", ".ndjson"),
        ("a.json", b'\n {"a": 1}\n{"a": 2}\n', "jsonl", ".json"),
        ("a.json", b'{"a": 1}', "jsonl", ".json"),
        ("a.json", b'{"a": 1,}\n{"a": 2}\n', "jsonl", ".json"),
        ("a.json", b"  \n[{}]", "json", ".json"),
        ("a.csv", b"a,b\n1,2\n", "csv", ".csv"),
        ("a.TSV", b"a\tb\n1\t2\n", "tsv", ".tsv"),
        ("a.txt", b"a\n", "text", ".txt"),
        ("a.txt.gz", gzip.compress(b"a\n"), "text, gzip", ".txt.gz"),
        ("a.part.CSV.GZ", gzip.compress(b"a,b\n1,2\n"), "csv, gzip", ".csv.gz"),
    ],
)
def test_a_file_is_known_by_its_suffix_and_content(
    tmp_path: Path, name: str, content: bytes, container: str, suffix: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = open_container(str(path))
    assert (found.name, found.suffix) == (container, suffix)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", "the file is empty"),
        ("a.jsonl", b" \n\n", "there are no rows"),
        ("a.json", b" \n\n", "there are no rows"),
        ("a.json", b"[ ]", "there are no rows"),
        ("a.json", b'{\n "data": [{}]\n}\n', "one JSON object"),
        ("a.json", b'"text"', "array of objects or JSON Lines"),
        ("a.csv", b"a,b\n", "there are no rows in it"),
        ("a.doc", b"a,b\n", "'.doc' are not supported; use .arrow, .csv, .csv.gz, .csv.zst, "),
        ("a.tar.gz", b"a", "'.gz' are not supported; use .arrow, .csv, .csv.gz, .csv.zst, "),
        ("a.jsonl", b"\xff\xfe{\x00}\x00", "UTF-16"),
        ("a.json", b'[{"a": "\xff"}]', ":1: not valid UTF-8"),
    ],
)
def test_other_files_are_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as refusal:
        open_container(path)
    assert words in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_missing_files_and_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_container(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="save_to_disk"):
        open_container(tmp_path)
    pq.write_table(pa.table({"a": pa.array([], pa.int8())}), tmp_path / "none.parquet")
    with pytest.raises(DataError, match="there are no rows"):
        open_container(tmp_path / "none.parquet")
