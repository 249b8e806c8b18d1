"""Small data files with every trouble that a real one has."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ANSWERS = (
    "Yes.",
    "No. The Loire.",
    "Total: 42 EUR",
    "Hello",
    "name.json",
    "42 42 42 42",
    "Hi. Hi.",
)


def good_rows(count: int = 24) -> list[dict[str, Any]]:
    """Rows that can be scored, in turn in four formats; every second one has an id."""
    return [_good_row(number) for number in range(count)]


def _good_row(number: int) -> dict[str, Any]:
    question = f"Name river {number}."
    answer = ANSWERS[number % len(ANSWERS)] + "!" * (number // len(ANSWERS))
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    kinds: list[dict[str, Any]] = [
        {"id": f"own-{number}", "messages": turns},
        {"instruction": question, "input": "", "output": answer},
        {
            "id": number,
            "conversations": [
                {"from": "human", "value": question},
                {"from": "gpt", "value": answer},
            ],
        },
        {"prompt": question, "completion": answer},
    ]
    return kinds[number % len(kinds)]


NO_ANSWER = {"messages": [{"role": "user", "content": "Name a river."}]}
EMPTY_ANSWER = {"instruction": "Name a river.", "output": "  "}
LONE_SURROGATE = {"prompt": "Name a river.", "completion": "The Loire \ud83d"}

# Line in the file, and the reason, of each row of `mixed_jsonl` that cannot be scored.
REJECTED = {
    3: "invalid_json",
    6: "no_assistant_turn",
    9: "empty_response",
    12: "unencodable_text",
}


def mixed_lines() -> list[bytes]:
    """Lines of a file with mixed line endings, a blank line and a last line without an ending.

    The blank line is line 5, so line numbers and row numbers part there.
    """
    good = [_line(row) for row in good_rows()]
    bad = {
        3: b'{"messages": [{"role": "user", "cont\n',
        5: b"  \n",
        6: _line(NO_ANSWER),
        9: _line(EMPTY_ANSWER),
        12: _line(LONE_SURROGATE).rstrip(b"\n") + b"\r\n",
    }
    lines: list[bytes] = []
    while good:
        number = len(lines) + 1
        lines.append(bad[number] if number in bad else good.pop(0))
        if number % 2 and number not in bad:
            lines[-1] = lines[-1].rstrip(b"\n") + b"\r\n"
    lines[-1] = lines[-1].rstrip(b"\r\n")
    return lines


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode("ascii") + b"\n"


def mixed_jsonl(path: Path) -> Path:
    """Write `mixed_lines` after a byte order mark."""
    path.write_bytes(codecs.BOM_UTF8 + b"".join(mixed_lines()))
    return path


def rows_of(lines: Sequence[bytes]) -> list[bytes]:
    """The lines that are rows: blank ones are not."""
    return [line for line in lines if line.strip()]


def split_file(path: Path) -> list[bytes]:
    """Lines of a written file with their endings, the byte order mark taken off."""
    return path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines(keepends=True)


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as plain JSON Lines."""
    path.write_bytes(b"".join(map(_line, rows)))
    return path
