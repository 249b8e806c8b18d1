"""Ranges of rows: together they are what the container reads whole."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradshield.data import DataError, Rejection, load_examples, make_profile, open_source
from gradshield.data import row_ranges as module
from gradshield.data import survey as survey_module
from gradshield.data.containers.parquet import rows_from_group
from gradshield.data.row_ranges import all_rows, parts_of, row_ranges
from gradshield.data.survey import survey_rows
from tests.run.data_files import good_rows, mixed_jsonl, write_jsonl
from tests.tiny_models import chat_tokenizer

LINES = st.sampled_from(
    [
        b"\n",
        b" \t\r\n",
        b'{"a": 1}\n',
        b'{"b": "\xe2\x80\xa8 \x0c"}\r\n',
        b'{"broken\n',
        b"[]\n",
        b"\xff\n",
        b"17\n",
    ]
)


@given(
    lines=st.lists(LINES, max_size=40),
    mark=st.booleans(),
    ended=st.booleans(),
    stride=st.integers(1, 7),
    size=st.integers(1, 20),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_of_lines_are_the_rows_of_the_file(
    tmp_path: Path, lines: list[bytes], mark: bool, ended: bool, stride: int, size: int
) -> None:
    path = tmp_path / "data.jsonl"
    content = b"".join([*lines, b'{"last": "row"}', b"\n" * ended])
    path.write_bytes(b"\xef\xbb\xbf" * mark + content)
    source = open_source(path)
    whole = source.read()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STRIDE", stride)
        _check(source, whole, size)


def _check(source: Any, whole: list[Any], size: int) -> None:
    """All rows in ranges of a size, read here and where the ranges are sent to."""
    ranges = row_ranges(source)
    assert ranges.total == len(whole)
    assert [row for some in all_rows(ranges, size) for row in some] == whole
    for start in range(0, len(whole), size):
        rows = range(start, min(start + size, len(whole)))
        sent = pickle.loads(pickle.dumps(ranges.part(rows)))
        assert sent.read(rows) == whole[rows.start : rows.stop]
        inner = range(rows.start + len(rows) // 2, rows.stop)
        assert sent.read(inner) == whole[inner.start : inner.stop]


def _as_parquet(folder: Path) -> Path:
    path = folder / "data.parquet"
    pq.write_table(pa.Table.from_pylist(_plain_rows(25)), path, row_group_size=7)
    return path


def _as_csv(folder: Path) -> Path:
    path = folder / "data.csv"
    path.write_text("x,y\n" + "".join(f'{row["x"]},"{row["y"]}"\n' for row in _plain_rows(25)))
    return path


def _as_gzip(folder: Path) -> Path:
    path = folder / "data.jsonl.gz"
    path.write_bytes(
        gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in _plain_rows(25)))
    )
    return path


def _as_array(folder: Path) -> Path:
    path = folder / "data.json"
    path.write_text(json.dumps(_plain_rows(25)), encoding="utf-8")
    return path


def _plain_rows(count: int) -> list[dict[str, Any]]:
    return [{"x": number, "y": f"river {number}"} for number in range(count)]


@pytest.mark.parametrize("written", [_as_parquet, _as_csv, _as_gzip, _as_array])
@pytest.mark.parametrize("size", [1, 4, 10, 25])
def test_ranges_of_files_that_are_read_in_turn(
    tmp_path: Path, written: Callable[[Path], Path], size: int
) -> None:
    source = open_source(written(tmp_path))
    _check(source, source.read(), size)


def test_rows_that_are_asked_for_in_order_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(_as_csv(tmp_path))
    begun: list[Path] = []
    rows_of = type(source.container).rows

    def listening(container: Any, path: Path) -> Any:
        begun.append(path)
        return rows_of(container, path)

    monkeypatch.setattr(type(source.container), "rows", listening)
    ranges = row_ranges(source)
    for rows in (range(0, 4), range(4, 9), range(12, 20)):
        assert [row.position for row in ranges.read(rows)] == list(rows)
    assert len(begun) == 1
    assert [row.position for row in ranges.read(range(12, 25))] == list(range(12, 25))
    assert len(begun) == 2


def test_a_row_group_far_ahead_is_read_without_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(_as_parquet(tmp_path))
    begun: list[int] = []

    def listening(path: Path, group: int) -> Any:
        begun.append(group)
        return rows_from_group(path, group)

    monkeypatch.setattr(module, "rows_from_group", listening)
    ranges = row_ranges(source)
    for rows in (range(0, 3), range(3, 9), range(15, 16), range(16, 25), range(8, 10)):
        assert [row.position for row in ranges.read(rows)] == list(rows)
    assert begun == [0, 2, 1]


def test_an_input_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "data.jsonl", good_rows(6))
    survey = survey_rows(open_source(path), chat_tokenizer(), **_options())
    write_jsonl(path, good_rows(4))
    with pytest.raises(DataError, match="rows 2 to 5 are not where they were"):
        survey.read(range(2, 6), chat_tokenizer())


def test_a_parquet_bomb_is_refused_before_any_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 3000 rows with a text of 1000 letters, 1000 are in memory at a time."""
    path = tmp_path / "data.parquet"
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 1000]))
    pq.write_table(pa.table({"text": long}), path, store_schema=False)
    source = open_source(path)
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "0.002")
    assert row_ranges(source).total == 3000
    monkeypatch.setenv("GRADSHIELD_MAX_GB", "0.001")
    with pytest.raises(DataError, match=r"unpacks to more than 0\.001 GB"):
        row_ranges(source)


@pytest.mark.parametrize("size", [1, 4, 11, 40])
def test_ranges_go_across_files(tmp_path: Path, size: int) -> None:
    for name, count in (("a", 5), ("b", 1), ("c", 12)):
        write_jsonl(tmp_path / f"{name}.jsonl", good_rows(count))
    source = open_source(tmp_path)
    whole = source.read()
    assert [row.file for row in whole[4:7]] == ["a.jsonl", "b.jsonl", "c.jsonl"]
    _check(source, whole, size)


def _options(**others: Any) -> dict[str, Any]:
    plain = {"format": "auto", "response": "all", "max_length": 64}
    return {**plain, "profile": make_profile("responses"), **others}


@pytest.mark.parametrize(
    "others", [{}, {"format": "alpaca"}, {"response": "last"}], ids=["auto", "alpaca", "last"]
)
def test_parts_are_read_as_in_the_whole_file(tmp_path: Path, others: dict[str, Any]) -> None:
    source = open_source(mixed_jsonl(tmp_path / "mixed.jsonl"))
    data = load_examples(source, chat_tokenizer(), **_options(**others))
    survey = survey_rows(source, chat_tokenizer(), **_options(**others))
    _same_parts(survey, data)


def test_too_many_rows_of_a_named_format_are_not_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(mixed_jsonl(tmp_path / "mixed.jsonl"))
    monkeypatch.setattr(survey_module, "MOST_LOOKED_THROUGH", 20)
    survey = survey_rows(source, chat_tokenizer(), **_options(format="alpaca"))
    assert (survey.total > 20, survey.bulkiest) == (True, None)
    assert survey_rows(source, chat_tokenizer(), **_options()).bulkiest is not None
    monkeypatch.setattr(survey_module, "MOST_LOOKED_THROUGH", survey.total)
    named = survey_rows(source, chat_tokenizer(), **_options(format="alpaca"))
    assert named.bulkiest is not None


def _same_parts(survey: Any, data: Any) -> None:
    assert survey.statement == data.format_statement
    assert survey.total == len(data.rows)
    assert survey.holds_pairs == bool(data.pairs)
    tokenizer = chat_tokenizer()
    first = data.rows[data.examples[0].row].value if data.examples else None
    assert survey.first_plain(tokenizer) == first
    sizes = [len(row.content) for row in data.rows]
    assert sizes[survey.bulkiest] == max(sizes)
    for rows in parts_of(survey.total, 6):
        part = pickle.loads(pickle.dumps(survey.part(rows))).read(rows, tokenizer)
        assert part.scorable == tuple(one for one in data.scorable if one.row in rows)
        rejections = {row: why for row, why in data.rejections.items() if row in rows}
        assert _texts(part.rejections) == _texts(rejections)
        assert part.ids == {row: data.ids[row] for row in rows}
        assert part.places == {row: {"line": data.rows[row].line} for row in rows}
        assert {e.row for e in part.scorable} | set(part.rejections) == set(rows)


def _texts(rejections: dict[int, Rejection]) -> dict[int, str]:
    return {row: str(rejection) for row, rejection in rejections.items()}


@pytest.mark.parametrize("preferences", [3, 9])
def test_what_most_rows_are_is_asked_of_the_whole_file(tmp_path: Path, preferences: int) -> None:
    """Plain rows and preferences in one file: the kind that is rarer is rejected in every part."""
    pair = {"prompt": "Name a river.", "chosen": "The Loire.", "rejected": "No."}
    rows = [*[pair] * preferences, *[{"prompt": "Hi", "completion": "Hello"}] * 6]
    source = open_source(write_jsonl(tmp_path / "data.jsonl", rows))
    survey = survey_rows(source, chat_tokenizer(), **_options())
    assert survey.holds_pairs == (preferences > 6)
    assert "The file mixes" in survey.notes[0]
    _same_parts(survey, load_examples(source, chat_tokenizer(), **_options()))


def test_an_ambiguous_row_is_read_by_the_format_of_the_whole_file(tmp_path: Path) -> None:
    """Alone it would be read as the format that comes first in the registry."""
    alpaca = {"instruction": "Name a river.", "output": "The Loire."}
    both = {**alpaca, "prompt": "Hi", "completion": "Hello"}
    source = open_source(write_jsonl(tmp_path / "data.jsonl", [both, *[alpaca] * 5]))
    data = load_examples(source, chat_tokenizer(), **_options())
    alone = write_jsonl(tmp_path / "alone.jsonl", [both])
    assert load_examples(alone, chat_tokenizer(), **_options()).examples != data.examples[:1]
    _same_parts(survey_rows(source, chat_tokenizer(), **_options()), data)
