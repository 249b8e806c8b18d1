"""Whether two SQL queries mean the same: by their results on SQLite, or by their text."""

from __future__ import annotations

import math
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from gradshield.evaluation.tasks.sql_database import filled_database
from gradshield.evaluation.tasks.sql_tokens import is_ordered, normalised

SEEDS = (0, 1, 2, 3, 4)
"""Of the fillings on which two queries must agree."""
STEPS_AT_A_TIME, MOST_STEPS = 10_000, 20_000_000
"""Steps of SQLite's virtual machine until a query is given up; unlike seconds, alike anywhere."""
MOST_ROWS = 100_000
_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
        abs avg coalesce count date datetime dense_rank first_value glob group_concat ifnull iif
        instr julianday lag last_value lead length like lower ltrim max min ntile nullif rank round
        row_number rtrim sqrt strftime substr substring sum time total trim typeof unicode upper
        """,
    )
)
"""What a query may call: nothing that makes texts of any length or reaches outside."""

Row = tuple[object, ...]


@dataclass(frozen=True)
class SqlMatch:
    """Whether a query means what the gold query means, and how that was found."""

    equal: bool
    by: Literal["execution", "text"]


def match_queries(create_statements: str, gold: str, predicted: str) -> SqlMatch:
    """Compare a predicted query with the gold one.

    Both run on the same small databases, and must give the same rows on each: in the same order
    if the gold query orders its rows, else in any order, each as often. The columns of the result
    must come in the same order; their names do not matter. Where the gold query does not run on
    SQLite, or gives nothing on any of the databases, the texts are compared without white space,
    case of words and kind of quotes.

    Args:
        create_statements: CREATE TABLE statements of the database.
        gold: The right query.
        predicted: The query to be judged; a single SELECT, or it never matches by execution.
    """
    if normalised(gold) == normalised(predicted):
        return SqlMatch(True, "execution" if gold_results(create_statements, gold) else "text")
    wanted = gold_results(create_statements, gold)
    if wanted is None:
        return SqlMatch(False, "text")
    ordered = is_ordered(gold)
    for seed, rows in zip(SEEDS, wanted, strict=True):
        with closing(filled_database(create_statements, gold, seed)) as database:
            try:
                found = read_only_rows(database, predicted)
            except sqlite3.Error:
                return SqlMatch(False, "execution")
        if not _same(rows, found, ordered):
            return SqlMatch(False, "execution")
    return SqlMatch(True, "execution")


def gold_results(create_statements: str, gold: str) -> list[list[Row]] | None:
    """Rows of a gold query on every filling, or None if it fails or gives nothing on all.

    A single row of nothing but NULL and zero, as aggregates of no rows are, is nothing too.
    """
    results = []
    try:
        for seed in SEEDS:
            with closing(filled_database(create_statements, gold, seed)) as database:
                results.append(read_only_rows(database, gold))
    except sqlite3.Error:
        return None
    return results if any(map(_says_something, results)) else None


def read_only_rows(database: sqlite3.Connection, query: str) -> list[Row]:
    """Rows of one SELECT, which can neither write nor run for long.

    Raises:
        sqlite3.Error: The query is not valid, does what it may not, or is too much work.
    """
    steps = 0

    def too_long() -> int:
        nonlocal steps
        steps += STEPS_AT_A_TIME
        return int(steps > MOST_STEPS)

    database.set_authorizer(_authorize)
    database.set_progress_handler(too_long, STEPS_AT_A_TIME)
    try:
        rows = database.execute(query).fetchmany(MOST_ROWS + 1)
    except (sqlite3.Warning, ValueError, OverflowError) as fault:
        # Two statements, a null character or a surrogate: no query of one statement.
        raise sqlite3.ProgrammingError(str(fault)) from fault
    if len(rows) > MOST_ROWS:
        raise sqlite3.OperationalError(f"more than {MOST_ROWS} rows")
    return [tuple(map(_comparable, row)) for row in rows]


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Only reading: no writes, pragmas, attached files or recursion."""
    allowed = action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ) or (
        action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _comparable(value: object) -> object:
    """Sums of the same numbers in another order differ in the last digits."""
    return float(f"{value:.9g}") if isinstance(value, float) and math.isfinite(value) else value


def _same(wanted: list[Row], found: list[Row], ordered: bool) -> bool:
    return wanted == found if ordered else Counter(wanted) == Counter(found)


def _says_something(rows: list[Row]) -> bool:
    return len(rows) > 1 or any(value not in (None, 0) for row in rows for value in row)
