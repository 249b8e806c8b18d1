from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.tasks import TASKS, TaskItem, sql_match
from gradshield.evaluation.tasks.sql import query_in, score_answer
from gradshield.evaluation.tasks.sql_database import declared_columns, filled_database
from gradshield.evaluation.tasks.sql_match import SqlMatch, match_queries, read_only_rows
from gradshield.evaluation.tasks.sql_tokens import (
    compared_columns,
    is_ordered,
    literals_by_column,
    normalised,
)
from tests.evaluation.tasks.public_folder import write_json

ONE = "CREATE TABLE head (name VARCHAR, state VARCHAR, age INTEGER)"
TWO = (
    "CREATE TABLE student (id VARCHAR, name VARCHAR, tot_cred INTEGER); "
    "CREATE TABLE advisor (s_id VARCHAR, i_id VARCHAR)"
)


@pytest.mark.parametrize(
    ("context", "gold", "same"),
    [
        (ONE, "SELECT name FROM head WHERE age > 56", "select NAME from head where not age <= 56"),
        (
            ONE,
            "SELECT name FROM head WHERE state = 'Ohio'",
            'SELECT name FROM head WHERE "Ohio"=state',
        ),
        (
            ONE,
            "SELECT AVG(age) FROM head WHERE age BETWEEN 10 AND 15",
            "SELECT SUM(age) * 1.0 / COUNT(*) FROM head WHERE age >= 10 AND age <= 15",
        ),
        (
            ONE,
            "SELECT state, COUNT(*) FROM head GROUP BY state",
            "SELECT h.state, COUNT(h.state) AS n FROM head AS h GROUP BY 1 ORDER BY n",
        ),
        (
            TWO,
            "SELECT T1.name FROM student AS T1 JOIN advisor AS T2 ON T1.id = T2.s_id "
            "WHERE T2.i_id = 'X'",
            "SELECT name FROM student, advisor WHERE s_id = id AND i_id = 'X'",
        ),
        (
            TWO,
            "SELECT id FROM student WHERE NOT id IN (SELECT s_id FROM advisor)",
            "SELECT id FROM student EXCEPT SELECT s_id FROM advisor",
        ),
    ],
)
def test_queries_that_say_the_same_in_other_words_match(context: str, gold: str, same: str) -> None:
    assert match_queries(context, gold, same) == SqlMatch(True, "execution")


@pytest.mark.parametrize(
    ("context", "gold", "other"),
    [
        (ONE, "SELECT name FROM head WHERE age > 56", "SELECT state FROM head WHERE age > 56"),
        (ONE, "SELECT name FROM head WHERE age > 56", "SELECT name FROM head WHERE age >= 56"),
        (ONE, "SELECT name FROM head WHERE age > 56", "SELECT name FROM head WHERE age > 57"),
        (ONE, "SELECT MAX(age) FROM head", "SELECT MIN(age) FROM head"),
        (ONE, "SELECT AVG(age) FROM head", "SELECT SUM(age) FROM head"),
        (ONE, "SELECT COUNT(DISTINCT state) FROM head", "SELECT COUNT(state) FROM head"),
        (ONE, "SELECT DISTINCT state FROM head", "SELECT state FROM head"),
        (ONE, "SELECT name FROM head ORDER BY age", "SELECT name FROM head ORDER BY age DESC"),
        (ONE, "SELECT name FROM head ORDER BY age", "SELECT name FROM head"),
        (ONE, "SELECT name, state FROM head", "SELECT state, name FROM head"),
        (
            ONE,
            "SELECT name FROM head WHERE state = 'Ohio'",
            "SELECT name FROM head WHERE state = 'Iowa'",
        ),
        (ONE, "SELECT COUNT(*) FROM head WHERE name LIKE '%ann%'", "SELECT COUNT(*) FROM head"),
        (
            ONE,
            "SELECT COUNT(*) FROM head WHERE age IS NULL",
            "SELECT COUNT(*) FROM head WHERE age = 0",
        ),
        (
            TWO,
            "SELECT T1.name FROM student AS T1 JOIN advisor AS T2 ON T1.id = T2.s_id",
            "SELECT T1.name FROM student AS T1 JOIN advisor AS T2 ON T1.id = T2.i_id",
        ),
        (ONE, "SELECT name FROM head", "SELECT nothing FROM nowhere"),
        (ONE, "SELECT name FROM head", ""),
        (ONE, "SELECT name FROM head", "SELECT name FROM head; SELECT name FROM head"),
        (ONE, "SELECT name FROM head", "DELETE FROM head RETURNING name"),
    ],
)
def test_queries_that_say_something_else_do_not_match(context: str, gold: str, other: str) -> None:
    assert match_queries(context, gold, other) == SqlMatch(False, "execution")


@pytest.mark.parametrize(
    "gold",
    [
        "SELECT missing FROM head",
        "SELECT name FROM head WHERE age > 5 AND age < 5",
        "SELECT COUNT(*), MAX(age) FROM head WHERE age > 5 AND age < 5",
    ],
)
def test_a_gold_query_that_tells_nothing_is_compared_as_text(gold: str) -> None:
    assert match_queries(ONE, gold, gold.lower().replace(" ", "\n") + ";") == SqlMatch(True, "text")
    assert match_queries(ONE, gold, "SELECT 1") == SqlMatch(False, "text")


def test_statements_that_sqlite_does_not_know_are_compared_as_text() -> None:
    assert match_queries("CREATE order TABLE", "SELECT 1", "SELECT 1") == SqlMatch(True, "text")


def test_the_same_seed_gives_the_same_database_and_another_one_another() -> None:
    def rows(seed: int) -> list[tuple[object, ...]]:
        with closing(filled_database(ONE, "SELECT name FROM head", seed)) as database:
            return read_only_rows(database, "SELECT * FROM head")

    assert rows(0) == rows(0)
    assert rows(0) != rows(1)


def test_columns_hold_literals_and_what_lies_around_them_by_their_type() -> None:
    query = "SELECT name FROM head WHERE age > 56 AND state = 'Ohio'"
    with closing(filled_database(ONE, query, 0)) as database:
        ages = {age for (age,) in read_only_rows(database, "SELECT age FROM head")}
        states = {state for (state,) in read_only_rows(database, "SELECT state FROM head")}
        kinds = read_only_rows(
            database, "SELECT DISTINCT typeof(name), typeof(state), typeof(age) FROM head"
        )
    assert {55, 56, 57} <= ages
    assert "Ohio" in states
    assert len(states) > 2
    assert kinds == [("text", "text", "integer")]


def test_a_table_declared_twice_has_the_columns_of_both() -> None:
    found = declared_columns("CREATE TABLE a (x INTEGER); CREATE TABLE A (Y VARCHAR, x INTEGER)")
    assert [(c.table, c.name, c.numeric) for c in found] == [("a", "x", True), ("a", "y", False)]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM head",
        "CREATE TABLE other (x)",
        "DROP TABLE head",
        "PRAGMA user_version = 3",
        "ATTACH DATABASE ':memory:' AS other",
        "SELECT load_extension('x')",
        "SELECT randomblob(1000000000)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
        "SELECT name\0 FROM head",
    ],
)
def test_a_query_can_only_read(query: str) -> None:
    with (
        closing(filled_database(ONE, "SELECT name FROM head", 0)) as database,
        pytest.raises(sqlite3.Error),
    ):
        read_only_rows(database, query)


@pytest.mark.parametrize(("limit", "value"), [("MOST_STEPS", 20_000), ("MOST_ROWS", 1_000)])
def test_too_much_work_is_given_up(limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_match, limit, value)
    with (
        closing(filled_database(ONE, "SELECT name FROM head", 0)) as database,
        pytest.raises(sqlite3.OperationalError),
    ):
        read_only_rows(database, "SELECT a.age FROM head AS a, head AS b, head AS c")


def test_tokens_tell_order_literals_and_joins() -> None:
    assert is_ordered("SELECT a FROM b ORDER BY a")
    assert not is_ordered("SELECT a FROM b WHERE c = (SELECT c FROM d ORDER BY c LIMIT 1)")
    assert not is_ordered("SELECT a FROM b WHERE c = 'x ORDER BY y'")
    columns = frozenset({"a", "b", "c"})
    query = (
        'SELECT a FROM t WHERE b BETWEEN 1 AND 2.5 AND T1.C LIKE "%it\'s%" OR COUNT(*) > 7 LIMIT 3'
    )
    assert literals_by_column(query, columns) == {"b": ["1", "2.5"], "c": ["%it's%"]}
    joins = (
        "SELECT x FROM t AS T1 JOIN u AS T2 ON T1.a = T2.b "
        "WHERE NOT c IN (SELECT DISTINCT T3.A FROM v AS T3)"
    )
    assert compared_columns(joins, columns) == [("a", "b"), ("c", "a")]
    assert normalised("SELECT  A from t where a != 'X';") == normalised(
        'select a FROM t WHERE a <> "X"'
    )
    assert normalised("SELECT a FROM t WHERE a = 'X'") != normalised(
        "SELECT a FROM t WHERE a = 'x'"
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("SELECT a FROM b", "SELECT a FROM b"),
        ("Here it is:\n```sql\nSELECT a\nFROM b;\n```\nIt selects a.", "SELECT a\nFROM b"),
        ("The query is select a from b; it selects a.", "select a from b"),
        ("SELECT a FROM b WHERE c = 'x;y'; done", "SELECT a FROM b WHERE c = 'x;y'"),
        ("WITH t AS (SELECT 1) SELECT * FROM t", "WITH t AS (SELECT 1) SELECT * FROM t"),
        ("I do not know.", ""),
    ],
)
def test_the_query_is_found_in_an_answer(answer: str, expected: str) -> None:
    assert query_in(answer) == expected


def sql_row(place: int, given: str) -> dict[str, str]:
    return {"instruction": "Write SQL:\n", "input": given, "output": f"SELECT {place}"}


def test_the_last_200_rows_of_the_public_file_are_the_test(tmp_path: Path) -> None:
    given = f"## Natural Language Query:\nWhich?\n{'## Context:'}\n{ONE}\n"
    write_json(tmp_path / "sqlgen/sqlgen_train.json", [sql_row(n, given) for n in range(203)])
    items = TASKS["sql"].items(tmp_path)
    assert len(items) == 200
    assert items[0] == TaskItem("3", f"Write SQL:\n\n{given.strip()}", "SELECT 3", context=ONE)


def test_a_row_without_create_statements_is_named(tmp_path: Path) -> None:
    path = write_json(tmp_path / "own.json", [sql_row(0, "Which?")])
    with pytest.raises(UserError, match=r"own\.json, .* needs CREATE TABLE statements"):
        TASKS["sql"].items(path)


def test_an_answer_is_scored_with_a_note_on_how() -> None:
    item = TaskItem("0", "?", "SELECT name FROM head", context=ONE)
    good = score_answer(item, "```sql\nSELECT head.name FROM head;\n```")
    assert (good.score, good.prediction, good.note) == (
        1.0,
        "SELECT head.name FROM head",
        "execution",
    )
    assert score_answer(item, "No idea.").score == 0
