"""Text to SQL: the generated query must give what the gold query gives.

The public file holds training rows only, so its last 200 are for testing; train on the others.
"""

from __future__ import annotations

import re
from pathlib import Path

from gradshield.evaluation.tasks.base import TaskItem
from gradshield.evaluation.tasks.generated import GeneratedTask, Scored
from gradshield.evaluation.tasks.rows import TaskRow, task_rows
from gradshield.evaluation.tasks.sql_match import match_queries

PUBLIC_FILE = "sqlgen/sqlgen_train.json"
TEST_ROWS = 200
"""From the end of the public file; training takes the 800 before them."""
MAX_NEW_TOKENS = 128
CONTEXT = "## Context:"
"""What the CREATE statements follow in the input of a row."""
_FENCED = re.compile(r"```(?:sql)?\s*(.*?)(?:```|$)", re.IGNORECASE | re.DOTALL)
_STATEMENT = re.compile(r"\b(?:SELECT|WITH)\b(?:'[^']*'|\"[^\"]*\"|[^;'\"])*", re.IGNORECASE)


def query_in(answer: str) -> str:
    """The first SELECT of an answer, or of the code block in it; empty if there is none."""
    fenced = _FENCED.search(answer)
    found = _STATEMENT.search(fenced.group(1) if fenced else answer)
    return found.group().strip() if found else ""


def read_items(source: Path) -> list[TaskItem]:
    """Questions with their CREATE statements, and the gold query as the target."""
    return [_item(row) for row in task_rows(source, PUBLIC_FILE, last=TEST_ROWS)]


def _item(row: TaskRow) -> TaskItem:
    _, marker, context = row.text("input").rpartition(CONTEXT)
    if not marker or not context.strip():
        raise row.fault(f"needs CREATE TABLE statements after {CONTEXT!r} in its field 'input'")
    return TaskItem(row.id, row.instruction(), row.text("output"), context=context.strip())


def score_answer(item: TaskItem, answer: str) -> Scored:
    """1 where the query of the answer matches; the note says whether by execution or by text."""
    query = query_in(answer)
    match = match_queries(item.context, item.target, query)
    return Scored(float(match.equal), query, match.by)


SQL = GeneratedTask("sql", "execution match", read_items, score_answer, MAX_NEW_TOKENS)
