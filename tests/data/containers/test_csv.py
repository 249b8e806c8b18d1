from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.data import DataError, load_examples, open_container
from gradshield.data.containers import csv as csv_container
from gradshield.data.containers.csv import CsvContainer
from tests import tiny_tokenizers as tiny

CSV = CsvContainer(".csv", "csv", ",")
TSV = CsvContainer(".tsv", "tsv", "\t")

HEADER = b'id,prompt,"completion"\r\n'
RECORDS = [
    b'1,"one\r\ntwo, ""three""",x\r\n',
    b"007,,\xc3\xa9\n",
    b'3,"lone\rreturn",y\r',
    b'4,"""", z',
]
VALUES = [
    {"id": "1", "prompt": 'one\r\ntwo, "three"', "completion": "x"},
    {"id": "007", "prompt": "", "completion": "é"},
    {"id": "3", "prompt": "lone\rreturn", "completion": "y"},
    {"id": "4", "prompt": '"', "completion": " z"},
]


def write(folder: Path, content: bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def subset(path: Path, positions: list[int], container: CsvContainer = CSV) -> bytes:
    target = path.with_name("subset" + container.suffix)
    container.write_subset(path, positions, target)
    return target.read_bytes()


def test_records_are_rows_of_text_with_the_lines_on_which_they_start(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + b"".join(RECORDS))
    assert open_container(path) == CSV
    rows = CSV.read(path)
    assert [row.value for row in rows] == VALUES
    assert [(row.position, row.line) for row in rows] == [(0, 2), (1, 4), (2, 5), (3, 7)]
    assert [row.own_id for row in rows] == ["1", "007", "3", "4"]
    assert CSV.facts(path).notes == ()


def test_kept_records_are_written_byte_for_byte(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + b"".join(RECORDS))
    assert subset(path, [0, 1, 2, 3]) == path.read_bytes()
    assert subset(path, [0, 3]) == HEADER + RECORDS[0] + RECORDS[3]
    assert subset(path, []) == HEADER
    # The unterminated record needs an ending only where another follows: that of the header.
    assert subset(path, [3, 1]) == HEADER + RECORDS[3] + b"\r\n" + RECORDS[1]


def test_a_byte_order_mark_is_noted_and_kept(tmp_path: Path) -> None:
    path = write(tmp_path, codecs.BOM_UTF8 + b"prompt,completion\na,b\n")
    (note,) = CSV.facts(path).notes
    assert note == "data.csv starts with a UTF-8 byte order mark; it is ignored"
    assert [row.value for row in CSV.read(path)] == [{"prompt": "a", "completion": "b"}]
    assert subset(path, [0]) == path.read_bytes()


def test_empty_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, b'\r\na,b\n\n1,"x\n\ny"\n\r\n2,z\n')
    assert CSV.facts(path).blank_lines == 3
    assert [(row.line, row.value) for row in CSV.read(path)] == [
        (4, {"a": "1", "b": "x\n\ny"}),
        (8, {"a": "2", "b": "z"}),
    ]
    assert subset(path, [0, 1]) == b'a,b\n1,"x\n\ny"\n2,z\n'


def test_tabs_separate_in_a_tsv(tmp_path: Path) -> None:
    path = write(tmp_path, b'a\tb\n1,5\t"x\ty"\n', "data.tsv")
    assert open_container(path) == TSV
    assert [row.value for row in TSV.read(path)] == [{"a": "1,5", "b": "x\ty"}]
    assert subset(path, [0], TSV) == path.read_bytes()


def test_the_index_column_that_pandas_writes_without_a_name_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, b",a\n0,x\n")
    assert [row.value for row in CSV.read(path)] == [{"": "0", "a": "x"}]


def test_fields_longer_than_the_limit_of_the_csv_module_are_read(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    text = "x" * (before + 1)
    path = write(tmp_path, b"a,b\n1," + text.encode() + b"\n")
    assert [row.value for row in CSV.read(path)] == [{"a": "1", "b": text}]
    assert csv.field_size_limit() == before


def test_what_the_csv_module_refuses_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = csv.field_size_limit()
    monkeypatch.setattr(csv_container, "FIELD_LIMIT", 5)
    path = write(tmp_path, b"a,b\n1,x\n2,too long\n")
    with pytest.raises(DataError, match=r"data\.csv:3:1: the record cannot be read: field larger"):
        CSV.read(path)
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (b"1,x\n", "5:1: 2 fields, but the header has 3: nothing for the column 'c'; add"),
        (b"1\n", "5:1: 1 fields, but the header has 3: nothing for the column 'b'; add"),
        (b"1,x,y,z\n", "5:1: 4 fields, but the header has 3: too many after the column 'c'; quote"),
        (b'1,"x\r\n\xc3\xa9\xff",y\n', "6:2: not valid UTF-8 (byte 0xff); save the file as UTF-8"),
        (b"1,\xed\xa0\x80,y\n", "5:3: not valid UTF-8 (byte 0xed); save the file as UTF-8"),
        (b'1,"\n\rx\0",y\n', "7:2: a NUL character; remove it"),
    ],
)
def test_a_bad_record_is_named_and_the_others_are_read(
    tmp_path: Path, record: bytes, fault: str
) -> None:
    good = b'1,"x\ny",z\n'
    path = write(tmp_path, b"a,b,c\n" + good + b"\n" + record + good)
    before, bad, after = CSV.read(path)
    assert before.value == after.value == {"a": "1", "b": "x\ny", "c": "z"}
    assert (bad.value, bad.line, bad.reason) == (None, 5, "invalid_csv")
    assert bad.error is not None
    assert bad.error.startswith(f"data.csv:{fault}")
    assert subset(path, [1]) == b"a,b,c\n" + record
    assert subset(path, [0, 1, 2]) == b"a,b,c\n" + good + record + good


def test_a_quote_that_is_never_closed_is_an_error_of_the_last_row(tmp_path: Path) -> None:
    path = write(tmp_path, b'a,b\n1,x\n2,"y\n3,z\n')
    first, last = CSV.read(path)
    assert first.value == {"a": "1", "b": "x"}
    assert last.value is None
    assert last.error is not None
    assert last.error.startswith("data.csv:3:1: a quote in this record is never closed")
    assert subset(path, [0, 1]) == path.read_bytes()
    with pytest.raises(DataError, match=r"data\.csv:3:1: a quote in this record is never closed"):
        subset(path, [1, 0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n\r\n", ": there is no header; the first line must name the columns"),
        (b" ,\n1,2\n", ":1:1: the header names no column; the first line must"),
        (b"\na,b,a\n1,2,3\n", ":2:1: the header has the name 'a' twice; name each column"),
        (b"a;b\n1;2\n", ":1:1: the header is one column with a semicolon in its name, 'a;b'; save"),
        (b"a\tb\n1\t2\n", ":1:1: the header is one column with a tab in its name"),
        (b"a,\xffb\n1,2\n", ":1:3: not valid UTF-8 (byte 0xff); save the file as UTF-8"),
        (b"a,b\0\n1,2\n", ":1:4: a NUL character; remove it"),
        (b'a,"b\n1,2\n', ":1:1: a quote in this record is never closed"),
        (b"\xff\xfea\0,\0b\0", ": the file is encoded in UTF-16; save it as UTF-8"),
    ],
)
def test_a_header_that_names_no_columns_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError) as refusal:
        open_container(path)
    assert str(refusal.value).startswith(f"{path}{words}")
    assert "\n" not in str(refusal.value)


def test_commas_in_a_tsv_are_told_from_tabs(tmp_path: Path) -> None:
    path = write(tmp_path, b"a,b\n1,2\n", "data.tsv")
    with pytest.raises(DataError, match=r"with a comma in its name, 'a,b'; save .* with a tab"):
        open_container(path)


def test_rows_go_on_to_the_row_formats(tmp_path: Path) -> None:
    path = write(tmp_path, b'prompt,completion\na,"Yes, I will."\na\nb,No.\n')
    loaded = load_examples(path, tiny.plain_tokenizer())
    assert [example.row for example in loaded.examples] == [0, 2]
    assert loaded.rejections[1].reason == "invalid_csv"
    assert loaded.rejections[1].detail.startswith("data.csv:3:1: 1 fields")


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
tricky = texts | st.text(st.sampled_from(',"\r\n\t x\ufeff\u2028\x0b\x0c\x1c\x85'), max_size=6)


@given(
    rows=st.lists(st.tuples(tricky, tricky), min_size=1, max_size=6),
    ending=st.sampled_from(["\r\n", "\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    mark=st.sampled_from([b"", codecs.BOM_UTF8]),
    ended=st.booleans(),
    container=st.sampled_from([CSV, TSV]),
    data=st.data(),
)
def test_what_the_csv_module_wrote_is_read_and_any_subset_keeps_its_bytes(
    rows: list[tuple[str, str]],
    ending: str,
    quoting: int,
    mark: bytes,
    ended: bool,
    container: CsvContainer,
    data: st.DataObject,
) -> None:
    def written(row: tuple[str, str]) -> bytes:
        text = io.StringIO(newline="")
        # Some versions of the writer quote a line break only if it is in the line ending.
        broken = not {"\r", "\n"}.isdisjoint("".join(row))
        every = csv.QUOTE_ALL if broken else quoting
        csv.writer(
            text, delimiter=container.delimiter, lineterminator=ending, quoting=every
        ).writerow(row)
        return text.getvalue().encode()

    records = [written(row) for row in rows]
    if not ended:
        records[-1] = records[-1].removesuffix(ending.encode())
    header = written(("prompt", "completion"))
    with TemporaryDirectory() as folder:
        path = write(Path(folder), mark + header + b"".join(records), "data" + container.suffix)
        read = container.read(path)
        assert [row.value for row in read] == [
            {"prompt": prompt, "completion": completion} for prompt, completion in rows
        ]
        kept = sorted(data.draw(st.sets(st.sampled_from(range(len(rows))))))
        expected = mark + header + b"".join(records[position] for position in kept)
        assert subset(path, kept, container) == expected


@given(content=st.binary() | st.text(st.sampled_from(',"\r\n\0xé')).map(str.encode))
def test_any_bytes_after_a_header_are_accounted_for(content: bytes) -> None:
    header = b"a,b\n"
    with TemporaryDirectory() as folder:
        path = write(Path(folder), header + content)
        rows = CSV.read(path)
        assert all((row.value is None) != (row.error is None) for row in rows)
        pieces = [subset(path, [row.position]).removeprefix(header) for row in rows]
        # Joined, the records are the content without empty lines between them.
        left = content
        for piece in pieces:
            left = left.lstrip(b"\r\n")
            assert left.startswith(piece)
            left = left.removeprefix(piece)
        assert left.strip(b"\r\n") == b""
        assert subset(path, [row.position for row in rows]) == header + b"".join(pieces)
