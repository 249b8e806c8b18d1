"""Words, literals and marks of an SQL query, as far as comparing queries needs them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Kind = Literal["text", "number", "word", "mark"]

_TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")|(?P<number>\d+(?:\.\d+)?|\.\d+)"""
    r"""|(?P<word>[A-Za-z_]\w*|`[^`]*`|\[[^\]]*\])|(?P<mark><>|!=|<=|>=|\|\||\S)"""
)


@dataclass(frozen=True)
class SqlToken:
    """A token: `value` is a text's content, a word in lower case, or the token as it stands.

    Attributes:
        kind: "text" for anything in quotes, "number", "word" (keywords and names) or "mark".
        value: What it says.
        depth: Number of brackets that are open around it.
    """

    kind: Kind
    value: str
    depth: int


def sql_tokens(query: str) -> list[SqlToken]:
    """Split a query into its tokens; white space and a final semicolon are left out."""
    found: list[SqlToken] = []
    depth = 0
    for match in _TOKEN.finditer(query.strip().rstrip(";")):
        kind, raw = match.lastgroup, match.group()
        depth -= raw == ")"
        if kind == "text":
            found.append(SqlToken("text", raw[1:-1].replace(raw[0] * 2, raw[0]), depth))
        elif kind == "word":
            found.append(SqlToken("word", raw.strip("`[]").lower(), depth))
        else:
            found.append(SqlToken("number" if kind == "number" else "mark", raw, depth))
        depth += raw == "("
    return found


def normalised(query: str) -> tuple[tuple[Kind, str], ...]:
    """A query without what says nothing: white space, case of words, kind of quotes, `!=`."""
    return tuple(
        (token.kind, "<>" if token.value == "!=" else token.value) for token in sql_tokens(query)
    )


def is_ordered(query: str) -> bool:
    """Whether the rows of the query come in an order: ORDER BY outside of any brackets."""
    return any(
        first.value == "order" and second.value == "by" and first.depth == 0
        for first, second in pairwise(sql_tokens(query))
    )


def literals_by_column(query: str, columns: frozenset[str]) -> dict[str, list[str]]:
    """Literals of a query, each by the column that is named last before it.

    Numbers after LIMIT and OFFSET, and numbers that a count is compared with, belong to none.

    Args:
        query: The query.
        columns: Names of columns, in lower case.

    Returns:
        Literals in their order; a quoted name of a column is no literal.
    """
    found: dict[str, list[str]] = {}
    column: str | None = None
    for token in sql_tokens(query):
        name = token.value.lower()
        if token.kind in ("word", "text") and name in columns:
            column = name
        elif token.kind == "word" and name in ("limit", "offset", "count"):
            column = None
        elif token.kind in ("text", "number") and column is not None:
            found.setdefault(column, []).append(token.value)
    return found


def compared_columns(query: str, columns: frozenset[str]) -> list[tuple[str, str]]:
    """Pairs of columns that a query sets equal (`a.x = b.y`) or looks up (`x IN (SELECT y`)."""
    tokens = [token for token in sql_tokens(query) if token.value.lower() != "distinct"]
    names = [token.value.lower() for token in tokens]
    pairs = []
    for place, name in enumerate(names):
        if name == "=" and place > 0:
            pairs.append((names[place - 1], _column_after(names, place + 1)))
        elif name == "in" and names[place + 1 : place + 3] == ["(", "select"]:
            before = place - 1 - (names[place - 1] == "not")
            pairs.append((names[before], _column_after(names, place + 3)))
    return [(a, b) for a, b in pairs if a in columns and b in columns]


def _column_after(names: Sequence[str], place: int) -> str:
    """The name at a place, or behind the table's name and a dot that stand there."""
    dotted = names[place + 1 : place + 2] == ["."]
    return "".join(names[place + 2 : place + 3] if dotted else names[place : place + 1])
