"""Rows of several files in one, in every container: bytes, or values and schema."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_from_disk

from gradshield.data import Container, DataError
from gradshield.data.containers import CONTAINERS, find_container
from gradshield.data.containers.arrow_file import read_arrow

MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("name", "parts", "joined"),
    [
        ("a.jsonl", [b'{"a":1}\r\n{"a":2}', b"", MARK + b'\n{"a":3}\n'], None),
        ("a.txt", [MARK + b"one\ntwo", b"three"], MARK + b"one\ntwo\nthree"),
        ("a.csv", [b"a,b\r\n1,2\r\n3,4", b'"a",b\n5,"6\n"'], b'a,b\r\n1,2\r\n3,4\r\n5,"6\n"'),
        ("a.tsv", [b"a\tb\n", b"a\tb\n1\t2"], b"a\tb\n1\t2"),
        ("a.json", [b"[ 1,\n  2]\n", b"[]", b'["x", "y"]'], b'[ 1,\n  2,\n  "x",\n  "y"]\n'),
        ("a.json", [b"[1]", b"[2]"], b"[1,\n2]"),
        ("a.json", [b"[]", b"[]"], b"[]\n"),
    ],
)
def test_bytes_of_rows_stay(
    tmp_path: Path, name: str, parts: list[bytes], joined: bytes | None
) -> None:
    paths = [tmp_path / str(number) / name for number in range(len(parts))]
    for path, content in zip(paths, parts, strict=True):
        path.parent.mkdir()
        path.write_bytes(content)
    container = find_container(paths[0])
    assert container is not None
    container.join(paths, tmp_path / name)
    expected = joined or MARK + b'{"a":1}\r\n{"a":2}\r\n{"a":3}\n'
    assert (tmp_path / name).read_bytes() == expected


def test_compressed_files_are_joined_by_their_content(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.jsonl.gz" for number in range(2)]
    for number, path in enumerate(paths):
        path.write_bytes(gzip.compress(b'{"a":%d}' % number))
    container = find_container(paths[0])
    assert container is not None
    container.join(paths, tmp_path / "joined.jsonl.gz")
    assert gzip.decompress((tmp_path / "joined.jsonl.gz").read_bytes()) == b'{"a":0}\n{"a":1}'


def tables(tmp_path: Path, suffix: str) -> tuple[Container, list[Path]]:
    schema = pa.schema([("a", pa.int8())], metadata={"origin": "test"})
    paths = [tmp_path / f"{number}{suffix}" for number in range(2)]
    for number, path in enumerate(paths):
        table = pa.table({"a": [number, 7]}, schema=schema)
        if suffix == ".parquet":
            pq.write_table(table, path)
        else:
            with pa.ipc.new_stream(str(path), schema) as writer:
                writer.write_table(table)
    container = find_container(paths[0])
    assert container is not None
    return container, paths


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_tables_keep_schema_and_values(tmp_path: Path, suffix: str) -> None:
    container, paths = tables(tmp_path, suffix)
    target = tmp_path / f"joined{suffix}"
    container.join(paths, target)
    joined = pq.ParquetFile(target).read() if suffix == ".parquet" else read_arrow(target)
    assert joined.to_pydict() == {"a": [0, 7, 1, 7]}
    assert joined.schema.metadata == {b"origin": b"test"}


def test_saved_data_sets(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(2)]
    for number, path in enumerate(paths):
        Dataset.from_dict({"a": [number]}).save_to_disk(path)
    container = find_container(paths[0])
    assert container is not None
    container.join(paths, tmp_path / "joined")
    assert load_from_disk(str(tmp_path / "joined"))["a"][:] == [0, 1]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    container, paths = tables(tmp_path, ".parquet")
    pq.write_table(pa.table({"b": [1]}), paths[1])
    with pytest.raises(DataError, match=r"1.parquet has other columns than 0.parquet.*--shards"):
        container.join(paths, tmp_path / "joined.parquet")
    for number, header in enumerate([b"a,b\n1,2\n", b"b,a\n1,2\n"]):
        (tmp_path / f"{number}.csv").write_bytes(header)
    csv = find_container(tmp_path / "0.csv")
    assert csv is not None
    with pytest.raises(DataError, match=r"1.csv has another header than 0.csv.*--shards"):
        csv.join([tmp_path / "0.csv", tmp_path / "1.csv"], tmp_path / "joined.csv")
    assert not (tmp_path / "joined.csv").exists()


def test_every_container_can_join() -> None:
    assert all(callable(container.join) for container in CONTAINERS)
