from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradshield.data import DataError, open_container
from gradshield.data.containers import parquet as module
from gradshield.data.containers.arrow import table_rows
from gradshield.data.containers.parquet import ParquetContainer

PARQUET = ParquetContainer()

SCHEMA = pa.schema(
    [
        pa.field(
            "messages",
            pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])),
        ),
        pa.field("label", pa.dictionary(pa.int32(), pa.string())),
        pa.field("score", pa.float32(), nullable=False, metadata={"unit": "nats"}),
        pa.field("when", pa.timestamp("ms", tz="UTC")),
        pa.field("nested", pa.large_list(pa.struct([pa.field("x", pa.list_(pa.int8()))]))),
        pa.field("lookup", pa.map_(pa.string(), pa.int64())),
        pa.field("all_null", pa.string()),
        pa.field("data", pa.json_()),
    ],
    metadata={"origin": "made by hand"},
)

ROWS = [
    {
        "messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": None}],
        "label": "even" if i % 2 == 0 else None,
        "score": i / 2,
        "when": datetime.datetime(2024, 1, 1 + i, tzinfo=datetime.timezone.utc),
        "nested": [{"x": [i]}, {"x": None}, {"x": []}],
        "lookup": [("k", i)],
        "all_null": None,
        "data": None if i == 3 else f'{{"k{i}": [{i}]}}',
    }
    for i in range(7)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    # A folder named like this makes some readers add a column.
    folder = tmp_path / "lang=en"
    folder.mkdir()
    table = pa.Table.from_pylist(ROWS, schema=SCHEMA)
    pq.write_table(table, folder / "data.parquet", row_group_size=3)
    return folder / "data.parquet"


def test_rows_have_their_values_and_no_lines(path: Path) -> None:
    rows = open_container(path).read(path)
    assert [(row.position, row.line, row.error) for row in rows] == [
        (i, None, None) for i in range(7)
    ]
    expected = dict(ROWS[5]) | {"data": {"k5": [5]}}
    assert rows[5].value == expected
    assert rows[3].value is not None
    assert rows[3].value["data"] is None


@pytest.mark.parametrize("positions", [[0, 1, 2, 3, 4, 5, 6], [1, 4, 6], [6, 0], []])
def test_a_subset_has_the_same_schema_and_values(path: Path, positions: list[int]) -> None:
    target = path.with_name("subset.parquet")
    PARQUET.write_subset(path, positions, target)
    before, after = pq.ParquetFile(path), pq.ParquetFile(target)
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    assert after.read().to_pylist() == [ROWS[position] for position in positions]


def test_rows_come_before_the_file_is_read_to_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_A_TIME", 2)
    read: list[int] = []

    def listening(table: Any) -> Any:
        read.append(len(table))
        return table_rows(table)

    monkeypatch.setattr("gradshield.data.containers.arrow.table_rows", listening)
    rows = PARQUET.rows(path)
    assert next(rows).position == 0
    assert read == [2]
    assert [row.position for row in rows] == list(range(1, 7))


@pytest.mark.parametrize("positions", [[0, 1, 2, 3, 4, 5, 6], [1, 4, 6], [6, 0, 0, 3], []])
def test_a_subset_is_written_row_group_by_row_group(
    path: Path, monkeypatch: pytest.MonkeyPatch, positions: list[int]
) -> None:
    whole, target = path.with_name("whole.parquet"), path.with_name("subset.parquet")
    PARQUET.write_subset(path, positions, whole)
    monkeypatch.setattr(module, "AT_A_TIME", 2)
    monkeypatch.setattr(module, "ROW_GROUP", 2)
    PARQUET.write_subset(path, positions, target)
    one, some = pq.ParquetFile(whole), pq.ParquetFile(target)
    assert some.schema_arrow.equals(one.schema_arrow, check_metadata=True)
    assert some.read().to_pylist() == one.read().to_pylist()
    sizes = [some.metadata.row_group(group).num_rows for group in range(some.num_row_groups)]
    assert all(2 <= size <= 3 for size in sizes[:-1])
    assert len(sizes) >= len(positions) // 3


def test_what_fits_into_a_row_group_is_written_as_the_library_writes_it(path: Path) -> None:
    """Small files have kept their bytes since all of a file was in memory."""
    target, expected = path.with_name("subset.parquet"), path.with_name("expected.parquet")
    PARQUET.write_subset(path, [1, 4, 6], target)
    pq.write_table(pq.ParquetFile(path).read().take(pa.array([1, 4, 6])), expected)
    assert target.read_bytes() == expected.read_bytes()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"PAR1 but nothing more")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        open_container(path)
