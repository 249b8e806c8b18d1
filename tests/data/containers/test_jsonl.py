from __future__ import annotations

import codecs
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.data import DataError, open_container
from gradshield.data.containers.jsonl import JsonlContainer

JSONL = JsonlContainer(".jsonl")


def write(folder: Path, content: bytes, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def subset(path: Path, positions: list[int]) -> bytes:
    target = path.with_name("subset.jsonl")
    JSONL.write_subset(path, positions, target)
    return target.read_bytes()


def test_byte_order_mark_and_crlf_are_read_and_kept(tmp_path: Path) -> None:
    first = b'{"prompt":"a","completion":"b"}\r\n'
    second = b'{"prompt":"c","completion":"d"}'
    path = write(tmp_path, codecs.BOM_UTF8 + first + second)
    rows = open_container(path).read(path)
    assert [row.value for row in rows] == [
        {"prompt": "a", "completion": "b"},
        {"prompt": "c", "completion": "d"},
    ]
    (note,) = JSONL.facts(path).notes
    assert "byte order mark" in note
    assert subset(path, [0, 1]) == path.read_bytes()
    assert subset(path, [1]) == codecs.BOM_UTF8 + second
    # The unterminated row needs an ending only where another row follows: the file's own kind.
    assert subset(path, [1, 0]) == codecs.BOM_UTF8 + second + b"\r\n" + first


def test_a_bad_line_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    good = b'{"prompt":"x","completion":"y"}\n'
    path = write(tmp_path, good + good + b'{"prompt":"x","completion":"y",}\n' + b" \n" + good)
    rows = JSONL.read(path)
    assert [(row.position, row.line) for row in rows] == [(0, 1), (1, 2), (2, 3), (3, 5)]
    assert JSONL.facts(path).blank_lines == 1
    assert [row.error is None for row in rows] == [True, True, False, True]
    assert rows[2].value is None
    assert rows[2].error is not None
    assert rows[2].error.startswith("data.jsonl:3:")
    assert subset(path, [2]) == b'{"prompt":"x","completion":"y",}\n'


@pytest.mark.parametrize(
    ("line", "column", "words"),
    [
        (b'{"a": "\xff"}', 8, "UTF-8"),
        ('{"é": '.encode() + b'"\xc3"}', 8, "UTF-8"),
        (b'{"a" "b"}', 6, "invalid JSON"),
        (b"[1, 2]", 1, "array"),
        (b"null", 1, "null"),
        (b"1e5", 1, "number"),
        (b"true", 1, "boolean"),
        (b"[" * 100_000, 1, "cannot be read"),
        (b'{"a": ' + b"9" * 5000 + b"}", 1, "cannot be read"),
    ],
)
def test_what_is_not_an_object_becomes_an_error(
    tmp_path: Path, line: bytes, column: int, words: str
) -> None:
    path = write(tmp_path, b"{}\n" + line + b"\n")
    ok, bad = JSONL.read(path)
    assert ok.value == {}
    assert bad.value is None
    assert bad.error is not None
    assert bad.error.startswith(f"data.jsonl:2:{column}: ")
    assert words in bad.error


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    value = {"text": "one\u2028two\u0085three"}
    path = write(tmp_path, json.dumps(value, ensure_ascii=False).encode() + b"\n")
    assert [row.value for row in JSONL.read(path)] == [value]


def test_keys_of_other_rows_are_not_added(tmp_path: Path) -> None:
    lines = [b'{"arguments": {"city":"Oslo"}}\n', b'{"arguments": {"isbn":"000"}}\n']
    path = write(tmp_path, b"".join(lines))
    assert JSONL.read(path)[1].value == {"arguments": {"isbn": "000"}}
    assert subset(path, [1]) == lines[1]


def test_escapes_are_written_as_they_were(tmp_path: Path) -> None:
    lines = [b'{"a": "\\ud83d oops"}\n', b'{"a": "\\ud83d\\ude00"}\n']
    path = write(tmp_path, b"".join(lines))
    assert [row.value for row in JSONL.read(path)] == [{"a": "\ud83d oops"}, {"a": "\U0001f600"}]
    assert subset(path, [1, 0]) == lines[1] + lines[0]


def test_a_second_pass_over_the_output_reads_the_same_rows(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"a":1}\n{"a":2}\n{"a":3}\n')
    once, twice = tmp_path / "once.jsonl", tmp_path / "twice.jsonl"
    JSONL.write_subset(path, [0, 2], once)
    JSONL.write_subset(once, [0, 1], twice)
    assert once.read_bytes() == twice.read_bytes() == b'{"a":1}\n{"a":3}\n'


def test_nothing_is_written_when_a_position_does_not_exist(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"a":1}\n')
    with pytest.raises(DataError, match="row 1 was asked for, but the file has 1 rows"):
        JSONL.write_subset(path, [0, 1], tmp_path / "out.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["data.jsonl"]


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path, b'{"a":1}\n{"a":2}\n')
    with pytest.raises(DataError, match="overwrite its own input"):
        JSONL.write_subset(path, [0], tmp_path / "." / "data.jsonl")
    assert path.read_bytes() == b'{"a":1}\n{"a":2}\n'


@given(content=st.binary(), data=st.data())
def test_any_split_of_any_bytes_gives_every_row_line_once(
    content: bytes, data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder), b'{"first": 1}\n' + content)
        rows = JSONL.read(path)
        kept = data.draw(st.sets(st.sampled_from(range(len(rows)))))
        removed = set(range(len(rows))) - kept
        halves = [subset(path, sorted(half)) for half in (kept, removed)]
        lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
        written = [line for half in halves for line in half.split(b"\n") if line]
        assert sorted(written) == sorted(lines)
        assert len(lines) == len(rows)


@given(st.lists(st.sampled_from([b"{}", b" ", b"", b"\r", b'{"a":1}\r', b"x"]), max_size=8))
def test_keeping_every_row_only_drops_blank_lines(lines: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder), b"{}\n" + b"\n".join(lines))
        rows = JSONL.read(path)
        expected = [
            line for line in path.read_bytes().splitlines(keepends=True) if line.strip(b" \r\n")
        ]
        assert subset(path, list(range(len(rows)))) == b"".join(expected)
        total = path.read_bytes().count(b"\n") + bool(lines and lines[-1])
        assert len(rows) + JSONL.facts(path).blank_lines == total
