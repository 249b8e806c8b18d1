"""Where the rows of a run stand in their files, and what they are, by columns."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MOST_SOURCES = 50
"""With more different sources they are no sources: all rows count as those of the file."""


@dataclass(frozen=True)
class RowPlace:
    """Where a row stands in its file.

    Attributes:
        line: 1-based line, None where the file has no lines.
        source: The row's own source field, or its file where there are several; else None.
        fingerprint: SHA-256 of the row, in hexadecimal.
        file: Which of several files it is in, None where there is only one.
    """

    line: int | None
    source: str | None
    fingerprint: str
    file: str | None = None


class _Names:
    """A column of texts of which few are different; any beyond so many are left out.

    Args:
        most: Of different texts that are told from each other.
    """

    def __init__(self, most: int) -> None:
        self.texts: list[str] = []
        self.numbers = array("i")
        self._known: dict[str, int] = {}
        self._most = most

    def append(self, text: str | None) -> None:
        if text is not None and text not in self._known and len(self.texts) < self._most:
            self._known[text] = len(self.texts)
            self.texts.append(text)
        self.numbers.append(-1 if text is None else self._known.get(text, -1))

    def __getitem__(self, row: int) -> str | None:
        number = self.numbers[row]
        return None if number < 0 else self.texts[number]


class Places:
    """The places of all rows of an input, put in from the first to the last.

    As objects they would be some hundred megabytes of a million rows.
    """

    def __init__(self) -> None:
        self._lines = array("q")
        self._fingerprints = bytearray()
        self._files = _Names(sys.maxsize)
        self._sources = _Names(MOST_SOURCES + 1)

    def append(self, place: RowPlace) -> None:
        """Put in the place of the next row."""
        self._lines.append(-1 if place.line is None else place.line)
        self._fingerprints += bytes.fromhex(place.fingerprint)
        self._files.append(place.file)
        self._sources.append(place.source)

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, row: int) -> RowPlace:
        line = self._lines[row]
        return RowPlace(
            line=None if line < 0 else line,
            source=self._sources[row],
            fingerprint=self._fingerprints[32 * row : 32 * row + 32].hex(),
            file=self._files[row],
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """The different sources in the order of their first row, `MOST_SOURCES` + 1 at most."""
        return tuple(self._sources.texts)

    def source_numbers(self) -> npt.NDArray[np.int32]:
        """Of each row the place of its source in `sources`, -1 without one; [rows]."""
        return np.array(self._sources.numbers, dtype=np.int32)
