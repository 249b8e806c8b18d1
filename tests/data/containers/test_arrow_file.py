from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset

from gradshield.data import DataError, open_container
from gradshield.data.containers.arrow_file import ArrowFileContainer, read_arrow

ARROW = ArrowFileContainer()
SCHEMA = pa.schema(
    [("id", pa.int16()), ("text", pa.large_string()), ("tags", pa.list_(pa.string()))],
    metadata={"origin": "test"},
)
VALUES = [{"id": i, "text": f"row {i}", "tags": [None, "x"][: i % 3]} for i in range(7)]


def write(path: Path, kind: str) -> Path:
    make: Any = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(str(path), SCHEMA) as writer:
        for values in (VALUES[:3], VALUES[3:]):
            writer.write_table(pa.Table.from_pylist(values, SCHEMA))
    return path


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_rows_and_subsets_in_both_formats(tmp_path: Path, kind: str) -> None:
    source, target = write(tmp_path / "a.arrow", kind), tmp_path / "b.arrow"
    container = open_container(source)
    assert container == ARROW
    assert [row.value for row in container.read(source)] == VALUES
    assert [row.position for row in container.read(source)] == list(range(7))
    for positions in ([], [0, 1, 2, 3, 4, 5, 6], [5, 2]):
        container.write_subset(source, positions, target)
        table = read_arrow(target)
        assert table.schema.equals(SCHEMA, check_metadata=True)
        assert table.to_pylist() == [VALUES[i] for i in positions]
        assert target.read_bytes().startswith(b"ARROW1") == (kind == "file")


def test_the_cache_of_datasets_can_be_read(tmp_path: Path) -> None:
    Dataset.from_list(VALUES).save_to_disk(tmp_path / "saved")
    path = next((tmp_path / "saved").glob("*.arrow"))
    assert [row.value for row in open_container(path).read(path)] == VALUES


@pytest.mark.parametrize("content", [b"ARROW1 and no more", b"nothing of the kind", b"\0" * 64])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.arrow").write_bytes(content)
    with pytest.raises(DataError, match=r"a.arrow: (not a readable Arrow file|there are no rows)"):
        open_container(tmp_path / "a.arrow")


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", "stream")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="not a readable Arrow file"):
        open_container(path)
