"""Text of others' making, on its way to a terminal or a table."""

from __future__ import annotations

SHOWN_CHARACTERS = 300
"""Of an id, a reason or a name: they can hold text from the data, megabytes of it."""


def printable(text: str) -> str:
    """Text that cannot steer a terminal: what is not printable is replaced, line feeds too."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def printable_lines(text: str) -> str:
    """Text that cannot steer a terminal, with its lines; a tab is four spaces."""
    return "\n".join(printable(line) for line in text.replace("\t", "    ").split("\n"))


def one_line(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """Text on one line, cut to `most` characters, that cannot steer a terminal."""
    shown = printable(" ".join(text[: 2 * most].split()))
    return shown if len(shown) <= most else shown[:most] + "…"
