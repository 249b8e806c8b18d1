"""Test rows of a task: from the folder of public data sets or from a file of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradshield.data import SourceRow, open_container
from gradshield.errors import UserError


@dataclass(frozen=True)
class TaskRow:
    """A parsed row and where it stands, so that a message can name the place."""

    path: Path
    row: SourceRow
    fields: dict[str, Any]

    @property
    def id(self) -> str:
        """The row's own `id`, or else its 0-based position in the file."""
        own = self.row.own_id
        return str(self.row.position if own is None else own)

    def text(self, field: str) -> str:
        """A field that must hold text, without the white space around it.

        Raises:
            UserError: The row lacks it, or it is blank.
        """
        value = self.fields.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.fault(f"needs text in its field {field!r}")
        return value.strip()

    def instruction(self) -> str:
        """The user turn of an instruction row: `instruction`, a blank line, `input` if any.

        Raises:
            UserError: There is no instruction, or the input is no text.
        """
        given = self.fields.get("input") or ""
        if not isinstance(given, str):
            raise self.fault("needs text in its field 'input'")
        return "\n\n".join(filter(None, (self.text("instruction"), given.strip())))

    def fault(self, what: str) -> UserError:
        """An error about this row, to be raised."""
        return UserError(
            f"{self.path}, {self.row.place} {what}: mend the row, or take it out of the file."
        )


def task_rows(source: Path, public_file: str, last: int | None = None) -> list[TaskRow]:
    """Test rows in file order.

    Args:
        source: The folder of the public data sets, or one file of the user's.
        public_file: Path of the task's file inside that folder.
        last: Only so many rows from the end of the public file are for testing, the rest for
            training; a file of the user's is taken whole.

    Raises:
        UserError: The file is missing or empty, a row cannot be parsed, or two share an id.
    """
    path = source / public_file if source.is_dir() else source
    if not path.is_file():
        raise UserError(
            f"The test file {path} is missing: give the folder that holds the public data sets "
            f"(with {public_file} in it), or one test file with the same fields."
        )
    read = open_container(path).read(path)
    rows = [_parsed(path, row) for row in (read[-last:] if last and source.is_dir() else read)]
    check_distinct(path, [row.id for row in rows])
    return rows


def _parsed(path: Path, row: SourceRow) -> TaskRow:
    if row.value is None:
        raise UserError(f"{path}, {row.place} cannot be read ({row.error}): mend the row.")
    return TaskRow(path, row, row.value)


def check_distinct(path: Path, ids: list[str]) -> None:
    """Refuse two items of one id: results are compared by id.

    Raises:
        UserError: Names the first id that comes again.
    """
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise UserError(f"{path} has two rows with the id {one}: give every row its own id.")
        seen.add(one)
