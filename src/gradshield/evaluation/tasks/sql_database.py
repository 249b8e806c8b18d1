"""Small databases on which two SQL queries that differ give different results.

A database is filled for one gold query: its literals stand in the columns that they are compared
with, and columns that it joins share their values. The idea of telling queries apart by several
fillings is that of Zhong, Yu and Klein (2020), "Semantic Evaluation for Text-to-SQL with Distilled
Test Suites"; the fillings here are simpler and need no search.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from gradshield.evaluation.tasks.sql_tokens import compared_columns, literals_by_column, sql_tokens

ROWS = 32
"""Of each table."""
VALUES, VALUES_TO_SHARE = 10, 14
"""Different values of a column, apart from literals, and those that columns draw them from."""
IDENTITIES_TO_SHARE = 40
"""What `ROWS` values of a column that identifies its rows are drawn from."""
_NUMERIC = re.compile(r"INT|REAL|FLOA|DOUB|NUM|DEC|BOOL", re.IGNORECASE)

Value = int | float | str | None


@dataclass(frozen=True)
class Column:
    """A column as declared; names in lower case."""

    table: str
    name: str
    type: str

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers; any other type holds text."""
        return bool(_NUMERIC.search(self.type))

    @property
    def identifies(self) -> bool:
        """Whether its name says that it tells the rows of its table apart: `id`, `student_id`."""
        singular = self.table.rstrip("s")
        return self.name in ("id", f"{self.table}_id", f"{singular}_id")


def declared_columns(create_statements: str) -> list[Column]:
    """Columns of CREATE TABLE statements; a table that is declared twice has the columns of both.

    Raises:
        sqlite3.Error: SQLite does not understand a statement, or there is none.
    """
    columns: dict[tuple[str, str], Column] = {}
    for statement in filter(str.strip, create_statements.split(";")):
        if not re.match(r"\s*CREATE\s+TABLE\b", statement, re.IGNORECASE):
            raise sqlite3.OperationalError("not a CREATE TABLE statement")
        scratch = sqlite3.connect(":memory:")
        try:
            scratch.execute(statement)
            rows = scratch.execute(
                "SELECT m.name, c.name, c.type FROM sqlite_master AS m, pragma_table_info(m.name) "
                "AS c WHERE m.type = 'table'"
            )
            for table, name, kind in rows:
                column = Column(table.lower(), name.lower(), kind)
                columns.setdefault((column.table, column.name), column)
        finally:
            scratch.close()
    if not columns:
        raise sqlite3.OperationalError("no CREATE TABLE statement")
    return list(columns.values())


def filled_database(create_statements: str, query: str, seed: int) -> sqlite3.Connection:
    """A database in memory with the declared tables, filled for a query.

    Args:
        create_statements: CREATE TABLE statements, with semicolons between them.
        query: The gold query.
        seed: Of the values: the same seed gives the same database.

    Raises:
        sqlite3.Error: SQLite does not understand the statements.
    """
    columns = declared_columns(create_statements)
    names = frozenset(column.name for column in columns)
    literals = literals_by_column(query, names)
    groups = _sharing(query, names)
    with_null = any(token.kind == "word" and token.value == "null" for token in sql_tokens(query))
    database = sqlite3.connect(":memory:")
    for table in dict.fromkeys(column.table for column in columns):
        own = [column for column in columns if column.table == table]
        filled = [
            _column_values(column, groups[column.name], literals, with_null, seed) for column in own
        ]
        declared = ", ".join(f"{_quoted(column.name)} {column.type}" for column in own)
        database.execute(f"CREATE TABLE {_quoted(table)} ({declared})")
        places = ", ".join("?" * len(own))
        rows = zip(*filled, strict=True)
        database.executemany(f"INSERT INTO {_quoted(table)} VALUES ({places})", rows)
    database.commit()
    return database


def _sharing(query: str, names: frozenset[str]) -> dict[str, frozenset[str]]:
    """For each name of a column all names whose columns share its values, itself included."""
    groups = {name: frozenset({name}) for name in names}
    for first, second in compared_columns(query, names):
        joined = groups[first] | groups[second]
        groups.update(dict.fromkeys(joined, joined))
    return groups


def _column_values(
    column: Column,
    group: frozenset[str],
    literals: dict[str, list[str]],
    with_null: bool,
    seed: int,
) -> list[Value]:
    """Values of one column, one a row.

    Half of them come from the literals that the query compares the column with, and from near
    them, if there are any. The others come from a few numbers that the group of columns has to
    itself, some more often than others: counts differ then, and ties are rare. Every column lacks
    some of its group's numbers, so that a join loses rows and a difference keeps some.
    """
    generator = random.Random(f"{seed} {column.table} {column.name}")
    of_group = random.Random(f"{seed} {' '.join(sorted(group))}")
    low = of_group.randrange(2, 900)
    shared = of_group.sample(range(low, low + 4 * IDENTITIES_TO_SHARE), IDENTITIES_TO_SHARE)
    values: list[Value]
    if column.identifies:
        values = list(generator.sample(shared, ROWS))
    else:
        weights = [1 / rank for rank in range(1, VALUES + 1)]
        own = generator.sample(shared[:VALUES_TO_SHARE], VALUES)
        values = list(generator.choices(own, weights, k=ROWS))
    near = _near(of_group, [one for name in sorted(group) for one in literals.get(name, [])])
    if near:
        for place in generator.sample(range(ROWS), ROWS // 2):
            values[place] = generator.choice(near)
    if with_null and not column.identifies:
        for place in generator.sample(range(ROWS), ROWS // 8):
            values[place] = None
    return [_typed(value, column) for value in values]


def _near(generator: random.Random, literals: Sequence[str]) -> list[Value]:
    """Literals and values around them; of a pattern, texts that match it."""
    found: list[Value] = []
    for literal in literals:
        try:
            number = float(literal)
        except ValueError:
            filler = str(generator.randrange(10, 99))
            found += [literal.replace("%", filler).replace("_", "x"), literal.replace("%", "")]
            continue
        step = max(1, int(abs(number)) // 10)
        found += [number, number, number - 1, number + 1, number - step, number + step]
    return found


def _typed(value: Value, column: Column) -> Value:
    """The value as the column's type has it; whole numbers without a decimal point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if value is None or column.numeric else str(value)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
