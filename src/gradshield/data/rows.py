"""A row as it stands in a data file, before any format is read into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SourceRow:
    """One row of a data file.

    Attributes:
        position: 0-based index among the rows of the input; blank lines are not rows.
        line: 1-based line on which the row starts, None in containers without lines.
        value: The parsed row, None if it could not be parsed.
        error: Why it could not be parsed, with file, line and column; None if it was.
        reason: Short code of that error, for the account of the rows.
        file: Which of several files it is in, None where there is only one.
        content: The bytes of the row without its line ending, None in containers that store
            values and no text.
    """

    position: int
    line: int | None
    value: dict[str, Any] | None
    error: str | None = None
    reason: str = "invalid_json"
    file: str | None = None
    content: bytes | None = None

    @property
    def place(self) -> str:
        """How to name the row to a person: its line where there is one, else its position."""
        if self.line is None:
            return f"row {self.position}" + ("" if self.file is None else f" (in {self.file})")
        return f"line {self.line}" + ("" if self.file is None else f" of {self.file}")

    @property
    def own_id(self) -> str | int | None:
        """The row's `id` field if it is one that any file format can store."""
        own = None if self.value is None else self.value.get("id")
        if isinstance(own, bool) or not isinstance(own, str | int):
            return None
        if isinstance(own, str) and any("\ud800" <= character <= "\udfff" for character in own):
            return None
        return own


def row_from_json(
    value: object,
    position: int,
    line: int,
    path: Path,
    column: int = 1,
    content: bytes | None = None,
) -> SourceRow:
    """A row from a parsed JSON value, which must be an object to be a row.

    `column` is the 1-based column at which the value starts, for the message; `content` are the
    bytes that it was parsed from.
    """
    if isinstance(value, dict):
        return SourceRow(position, line, value, content=content)
    kind = {
        list: "array",
        str: "string",
        bool: "boolean",
        int: "number",
        float: "number",
        type(None): "null",
    }[type(value)]
    error = f"{path.name}:{line}:{column}: a row must be a JSON object, this one is a JSON {kind}"
    return SourceRow(position, line, None, error, content=content)
