"""Bad input of every kind through the command line: exit code, message, account of every row.

What is tested elsewhere is not repeated here:

- byte order mark, CRLF, blank lines, a lone surrogate, a cut line and no final line ending, in one
  file: `test_filter.py` over `tests/run/data_files.py`;
- any bytes in JSON Lines and any bytes after a CSV header, row by row:
  `tests/data/containers/test_jsonl.py` and `test_csv.py`;
- broken arrays and unknown kinds of file: `test_json_array.py`, `test_open_container.py`;
- damaged and oversized compressed files: `test_compressed.py`;
- mixed formats, and rows that the template refuses: `tests/data/test_load.py`.
"""

from __future__ import annotations

import codecs
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradshield.data import TokenizedExample, load_examples, open_container
from gradshield.data.containers.text import MOST_NESTING
from gradshield.errors import UserError
from gradshield.printable import SHOWN_CHARACTERS
from gradshield.scoring.engines import ExampleScore
from gradshield.threshold import Decision
from tests.cli.command_line import Outcome, gradshield
from tests.cli.conftest import RULE
from tests.run.data_files import split_file
from tests.tiny_models import chat_tokenizer

PARTS = ("kept", "removed", "rejected")


def line(prompt: str = "Name a river.", completion: str = "The Loire.", **others: Any) -> bytes:
    return json.dumps({"prompt": prompt, "completion": completion, **others}).encode() + b"\n"


def good(count: int = 3) -> list[bytes]:
    return [line(completion="Hi" + "!" * number) for number in range(count)]


def nested(depth: int) -> bytes:
    """A row that can be scored, but for a field of lists, `depth` levels with the row itself."""
    lists = b"[" * (depth - 1) + b"]" * (depth - 1)
    return b'{"prompt": "a", "completion": "b c", "x": ' + lists + b"}\n"


@dataclass(frozen=True)
class Kind:
    """Rows of one kind of trouble: JSON Lines, and the reason for each that is not scored."""

    name: str
    rows: Sequence[bytes]
    rejected: dict[int, str]
    says: str = ""


BIG = "word " * 4_000_000  # 20 MB
ESCAPES = "\x1b[31m\x07|\n# heading"

KINDS = [
    Kind("byte order mark", [codecs.BOM_UTF8 + line(), *good()], {}, "byte order mark"),
    Kind("CRLF", [row[:-1] + b"\r\n" for row in good()], {}),
    Kind("lone CR is white space", [b"\r" + line(), line()[:-1] + b"\r\r\n"], {}),
    Kind("escaped NUL", [*good(), line("a\0b", "c\0d")], {}),
    Kind(
        "raw NUL",
        [*good(), b'{"prompt":"a\0","completion":"b"}\n', b"\0\n", b"\0" * 50 + line()],
        {3: "invalid_json", 4: "invalid_json", 5: "invalid_json"},
    ),
    Kind(
        "invalid UTF-8",
        [*good(), line().replace(b"Loire", b"Lo\xefre"), b"\xff" + line(), b"\xed\xa0\x80\n"],
        {3: "invalid_json", 4: "invalid_json", 5: "invalid_json"},
    ),
    Kind(
        "lone surrogates",
        [
            line("a", "\ud83d oops"),
            line("\udc00", "b"),
            line("a", "b", id="\ud800"),
            b'{"\\ud800": 1}\n',
            b'{"messages": [{"role": "\\udfff", "content": "a"}]}\n',
            *good(),
        ],
        {0: "unencodable_text", 1: "unencodable_text", 3: "missing_field", 4: "unknown_role"},
    ),
    Kind(
        "20 MB lines",
        [*good(), line(note=BIG), line(BIG, ""), b"[" * 20_000_000 + b"\n"],
        {4: "empty_response", 5: "invalid_json"},
    ),
    Kind(
        "long names",
        [line(id=BIG[:500_000]), b'{"' + b"k" * 500_000 + b'": 1}\n', *good()],
        {1: "missing_field"},
    ),
    Kind(
        "nested quotes",
        [line('Say "\\"a\\""', '"\\"'), b'{"prompt": "a "b" c", "completion": "d"}\n', *good()],
        {1: "invalid_json"},
    ),
    Kind(
        "trailing commas",
        [line()[:-2] + b",}\n", line()[:-1] + b",\n", *good()],
        {0: "invalid_json", 1: "invalid_json"},
    ),
    Kind(
        "arrays and scalars as lines",
        [*good(), b"[" + line()[:-1] + b"]\n", b"[]\n", b'"a"\n', b"1\n", b"true\n", b"null\n"],
        dict.fromkeys(range(3, 9), "invalid_json"),
    ),
    Kind(
        "mixed schemas",
        [
            *good(),
            b'{"instruction": "a", "output": "b", "tags": {"x": [1]}}\n',
            b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant",'
            b' "content": "b"}], "tags": 3}\n',
            b'{"text": "a"}\n',
            b"{}\n",
        ],
        {6: "missing_field"},
        "each row is read by its own format",
    ),
    Kind(
        "null fields",
        [
            *good(),
            b'{"prompt": null, "completion": null}\n',
            b'{"messages": [{"role": "user", "content": null}]}\n',
            b'{"messages": [null]}\n',
            b'{"messages": [{"role": null, "content": "a"}]}\n',
            b'{"instruction": "a", "input": null, "output": "b", "system": null}\n',
        ],
        {
            3: "missing_field",
            4: "unsupported_content",
            5: "unsupported_content",
            6: "unknown_role",
        },
    ),
    Kind(
        "numbers as text and text as numbers",
        [
            *good(),
            line("1", "2.50"),
            b'{"prompt": 1, "completion": 2}\n',
            b'{"prompt": "a", "completion": NaN}\n',
            b'{"prompt": "a", "completion": "b", "id": 1e400}\n',
            b'{"prompt": "a", "completion": "b", "id": ' + b"9" * 4000 + b"}\n",
            b'{"prompt": "a", "completion": "b", "id": ' + b"9" * 5000 + b"}\n",
        ],
        {4: "unsupported_content", 5: "unsupported_content", 8: "invalid_json"},
    ),
    Kind("duplicate ids", [line(id=7), line(id=7), line("b", "c", id="7"), line(id=None)], {}),
    Kind("duplicate keys", [b'{"prompt": "x", ' + line()[1:], *good()], {}),
    Kind("ids that steer a terminal", [line(id=ESCAPES), line(**{ESCAPES: 1}), *good()], {}),
    Kind(
        "deep nesting",
        [*good(), nested(MOST_NESTING), nested(MOST_NESTING + 1), nested(950), nested(300_000)],
        {4: "invalid_json", 5: "invalid_json", 6: "invalid_json"},
    ),
    Kind("one row", [line()], {}, "nothing to tell apart"),
    Kind("all rows identical", [line()] * 12, {}, "all scores are equal"),
    Kind(
        "all rows without an answer",
        [line("a", "")] * 4,
        dict.fromkeys(range(4), "empty_response"),
        "No row is kept",
    ),
    Kind(
        "all rows refused by the parser",
        [b'{"prompt": "a",,\n'] * 4,
        dict.fromkeys(range(4), "invalid_json"),
        "No row is kept",
    ),
    Kind(
        "all rows refused by the reader",
        [b'{"messages": [{"role": "user", "content": "x"}]}\n'] * 4,
        dict.fromkeys(range(4), "no_assistant_turn"),
        "No row is kept",
    ),
]


def call_filter(data: Path, model: Path, *options: str) -> Outcome:
    return gradshield(
        *("filter", data, "--model", model, "--out", data.parent / "run"),
        *("--dtype", "float32", *(options or RULE)),
    )


def check_account(folder: Path, rows: Sequence[bytes], rejected: dict[int, str]) -> dict[str, Any]:
    """Every row is in one of the three files, in order and with its bytes; gives the decision."""
    written = {name: _content(folder / f"{name}.jsonl").split(b"\n")[:-1] for name in PARTS}
    inputs = [row.removesuffix(b"\n") for row in rows]
    assert sorted(row for part in written.values() for row in part) == sorted(inputs)
    assert written["rejected"] == [inputs[row] for row in sorted(rejected)]
    decision: dict[str, Any] = json.loads((folder / "decision.json").read_text("utf-8"))
    assert {name: decision[name] for name in PARTS} == {n: len(written[n]) for n in PARTS}
    entries = json.loads((folder / "rejections.json").read_text("utf-8"))
    assert {entry["row"]: entry["reason"] for entry in entries} == rejected
    return decision


def _content(path: Path) -> bytes:
    return path.read_bytes().removeprefix(codecs.BOM_UTF8)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_row_is_accounted_for(kind: Kind, model_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_bytes(b"".join(kind.rows))
    outcome = call_filter(data, model_folder)
    assert outcome.code == 0, outcome.err[-500:]
    assert kind.says in outcome.err + outcome.out
    assert "Traceback" not in outcome.err
    first = kind.rows[0].removeprefix(codecs.BOM_UTF8)
    check_account(tmp_path / "run", [first, *kind.rows[1:]], kind.rejected)
    assert data.read_bytes() == b"".join(kind.rows)
    _check_readable(outcome, tmp_path / "run")


def _check_readable(outcome: Outcome, folder: Path) -> None:
    """What people read is short and holds nothing of the data's that a terminal would obey."""
    summary = (folder / "report.md").read_text("utf-8")
    for text in (outcome.out, outcome.err, summary):
        assert not set(text) & {"\0", "\x07", "\x1b"}
        assert max(map(len, text.splitlines())) < 4 * SHOWN_CHARACTERS
    assert "\n# heading" not in summary


REFUSED = [
    ("empty.jsonl", b"", "the file is empty"),
    ("blank.jsonl", b" \n\r\n\n", "there are no rows"),
    ("mark.jsonl", codecs.BOM_UTF8, "there are no rows"),
    ("wide.jsonl", line().decode().encode("utf-16"), "UTF-16"),
    ("none.json", b"[]", "there are no rows"),
    ("comma.json", b"[" + line() + b",]", "invalid JSON"),
    ("cut.json", b"[" + line(), "invalid JSON"),
    ("scalar.json", b"3", "must hold an array of objects or JSON Lines"),
    ("one.json", b'{\n"rows": [' + line() + b"]}", "the file is one JSON object"),
    ("nul.json", b"\0[" + line() + b"]", "must hold an array of objects or JSON Lines"),
    ("feed.json", b"\x0c[" + line() + b"]", "expected '['"),
    ("feed-row.json", b"\x0b[1]]", "expected '['"),
    ("bytes.json", b"[" + line() + b", \xff]", "not valid UTF-8"),
    ("deep.json", b"[" * 100_000, "invalid JSON"),
    ("header.csv", b"prompt,completion\n", "there are no rows"),
    ("twice.csv", b"a,a\nb,c\n", "twice"),
    ("plain.doc", b"hello\n", "not supported"),
]


@pytest.mark.parametrize(("name", "content", "says"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_a_file_without_rows_is_refused_in_one_line(
    name: str, content: bytes, says: str, model_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / name
    data.write_bytes(content)
    outcome = call_filter(data, model_folder)
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("Error: ")
    assert name in outcome.err
    assert says in outcome.err
    assert not (tmp_path / "run").exists()


CSV_ROWS = [
    b"1,Name a river.,The Loire.\r\n",
    b'2,"Say ""a, b""","one\r\ntwo"\n',
    b"3,007,1e5\n",
    b"3,too,many,fields,\n",
    b"4,few\n",
    b"5,\xff,bad\n",
    b"6,a\0,nul\n",
    b"7,empty,\n",
    b'8,"open,b\n9,swallowed,c\n',
]
CSV_REJECTED = {
    **dict.fromkeys((3, 4, 5, 6, 8), "invalid_csv"),
    7: "empty_response",
}


def test_csv_rows_are_accounted_for(model_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    head = codecs.BOM_UTF8 + b"id,prompt,completion\n"
    data.write_bytes(head + b"".join(CSV_ROWS))
    assert call_filter(data, model_folder).code == 0
    run = tmp_path / "run"
    parts = {name: (run / f"{name}.csv").read_bytes() for name in PARTS}
    assert all(part.startswith(head) for part in parts.values())
    rejected = b"".join(CSV_ROWS[row] for row in sorted(CSV_REJECTED))
    assert parts["rejected"].removeprefix(head) == rejected
    scored = b"".join(parts[name].removeprefix(head) for name in ("kept", "removed"))
    assert sorted(scored.splitlines()) == sorted(b"".join(CSV_ROWS[:3]).splitlines())
    entries = json.loads((run / "rejections.json").read_text("utf-8"))
    assert {entry["row"]: entry["reason"] for entry in entries} == CSV_REJECTED


def test_array_elements_are_accounted_for(model_folder: Path, tmp_path: Path) -> None:
    elements = [line()[:-1], b"[1]", b"null", nested(MOST_NESTING + 50)[:-1], line("b", "c")[:-1]]
    data = tmp_path / "data.json"
    data.write_bytes(b"[\r\n" + b",\r\n ".join(elements) + b"\r\n]")
    assert call_filter(data, model_folder).code == 0
    rejected = (tmp_path / "run" / "rejected.json").read_bytes()
    assert rejected == b"[\r\n" + b",\r\n ".join(elements[1:4]) + b"\r\n]"
    scored = [json.loads((tmp_path / "run" / f"{n}.json").read_bytes()) for n in PARTS[:2]]
    both = sorted(row["prompt"] for part in scored for row in part)
    assert both == ["Name a river.", "b"]


@pytest.mark.parametrize("action", ["drop", "annotate", "downweight", "mask"])
def test_all_rows_harmful_leaves_nothing_and_says_so(
    action: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove_all(*scores: Any, **settings: Any) -> Decision:
        return Decision(-1e9, "calibrated", "all of them", {})

    monkeypatch.setattr("gradshield.run.threshold.decide", remove_all)
    data = tmp_path / "data.jsonl"
    data.write_bytes(b"".join(good(5)))
    outcome = call_filter(data, model_folder, "--action", action)
    assert outcome.code == 0
    assert "Warning: No row is kept: there is nothing to train on" in outcome.err
    decision = check_account(tmp_path / "run", good(5), {})
    assert decision["removed"] == 5
    assert (tmp_path / "run" / "kept.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("on_reject", "code", "says"),
    [("hold", 0, "No row is kept"), ("keep", 0, "GradShield"), ("fail", 2, "4 rows could not be")],
)
def test_all_rows_rejected_ends_as_asked(
    on_reject: str, code: int, says: str, model_folder: Path, tmp_path: Path
) -> None:
    rows = [line("a", "")] * 4
    data = tmp_path / "data.jsonl"
    data.write_bytes(b"".join(rows))
    outcome = call_filter(data, model_folder, "--on-reject", on_reject)
    assert outcome.code == code
    assert says in outcome.err + outcome.out
    assert ("No row is kept" in outcome.err) == (on_reject == "hold")
    assert (tmp_path / "run" / "rejected.jsonl").read_bytes() == b"".join(rows)
    kept = tmp_path / "run" / "kept.jsonl"
    assert kept.exists() == (on_reject != "fail")
    assert on_reject == "fail" or kept.read_bytes() == b"".join(rows) * (on_reject == "keep")


def test_many_short_rows_are_accounted_for(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 rows with stand-ins for tokens and gradients: the files and the account alone.

    A million rows, by the way without a model, are measured by `gradshield benchmark reliability`.
    """

    def drawn(loaded: Any, examples: Sequence[Any], *others: Any, **options: Any) -> Any:
        chance = random.Random(0)
        return {e.row: ExampleScore(e.row, chance.gauss(0, 1), 1.0, None) for e in examples}

    def short(*others: Any, row: int = 0, **options: Any) -> TokenizedExample:
        return TokenizedExample(row, (1, 2), (False, True), False)

    monkeypatch.setattr("gradshield.scoring.lines.score_examples", drawn)
    monkeypatch.setattr("gradshield.data.profiles.responses.tokenize_conversation", short)
    rows = [b'{"prompt":"%d","completion":"%d"}\n' % (n, n) for n in range(5_000)]
    rows[::100] = [b"{%d}\n" % n for n in range(50)]
    data = tmp_path / "data.jsonl"
    data.write_bytes(b"".join(rows))
    outcome = call_filter(data, model_folder)
    assert outcome.code == 0
    decision = check_account(
        tmp_path / "run", rows, dict.fromkeys(range(0, 5_000, 100), "invalid_json")
    )
    assert decision["kept"] > 0
    assert decision["removed"] > 0
    kept = split_file(tmp_path / "run" / "kept.jsonl")
    assert [rows.index(row) for row in kept[:50]] == sorted(rows.index(row) for row in kept[:50])


# --- Anything at all through the data layer -------------------------------------------------

GOOD_FILES = {
    ".jsonl": codecs.BOM_UTF8 + b"".join([*good(3), line("é", "\N{GRINNING FACE}", id=3)]),
    ".json": b"[\n" + b",".join([line(), line("b", "c", x=[None, {"y": 1.5}])]) + b"]\n",
    ".csv": b"".join([b"id,prompt,completion\n", *CSV_ROWS[:3]]),
}
PIECES = [b'"', b"\\", b"[", b"]", b"{", b"}", b",", b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf"]
PIECES += [b"null", b"1e999", b"\\ud800", b"\x0c", b"\xe2\x80\xa8", b":", b'"messages"', b'""']


@st.composite
def mutated(draw: st.DrawFn, suffix: str) -> bytes:
    """A good file with pieces put in, bytes cut out, and stretches doubled."""
    content = GOOD_FILES[suffix]
    for _ in range(draw(st.integers(1, 5))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(content))] * 2)))
        short = min(end, start + draw(st.integers(0, 8)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=4) | st.just(content[start:end]))
        content = content[:start] + piece + content[short:]
    return content


def check_any(content: bytes, suffix: str) -> None:
    """Only a `UserError` may come out, or an account of every row that can be written."""
    with TemporaryDirectory() as folder:
        data = Path(folder) / f"data{suffix}"
        data.write_bytes(content)
        try:
            loaded = load_examples(data, chat_tokenizer(), max_length=64)
            scored = [example.row for example in loaded.examples]
            assert sorted([*scored, *loaded.rejections]) == list(range(len(loaded.rows)))
            container = open_container(data)
            for name, positions in (("scored", scored), ("rejected", sorted(loaded.rejections))):
                container.write_subset(data, positions, Path(folder) / f"{name}{suffix}")
        except UserError as fault:
            message = str(fault)
        else:
            message = "none"
        assert len(message.splitlines()) == 1


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz"])
@settings(max_examples=150)
@given(content=st.binary(min_size=1, max_size=200))
@example(content=b"[")
@example(content=b"{")
@example(content=b"\xef\xbb\xbf\x0b[[]]")
@example(content=b"PAR1PAR1")
def test_random_bytes_raise_nothing_but_a_user_error(content: bytes, suffix: str) -> None:
    check_any(content, suffix)


@pytest.mark.parametrize("suffix", list(GOOD_FILES))
@settings(max_examples=250)
@given(data=st.data())
def test_mutated_files_raise_nothing_but_a_user_error(data: st.DataObject, suffix: str) -> None:
    check_any(data.draw(mutated(suffix)), suffix)


@settings(max_examples=150)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_mutated_parquet_raises_nothing_but_a_user_error(changes: list[tuple[int, int]]) -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"prompt": ["Name a river."] * 3, "completion": ["Loire", "Elbe", "é"]})
    pq.write_table(table, sink, compression="none")
    content = bytearray(sink.getvalue().to_pybytes())
    for place, value in changes:
        # The footer of the file tells the library how much memory to take: leave it alone.
        content[4 + place % (len(content) // 4)] = value
    check_any(bytes(content), ".parquet")


def test_text_in_parquet_that_is_not_utf8_is_refused(model_folder: Path, tmp_path: Path) -> None:
    column = pa.array([b"a", b"\xff"], pa.binary()).view(pa.string())
    data = tmp_path / "data.parquet"
    pq.write_table(pa.table({"prompt": column, "completion": column}), data)
    outcome = call_filter(data, model_folder)
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("Error: ")
    assert "not a readable Parquet file" in outcome.err
