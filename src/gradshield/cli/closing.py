"""What a run prints at its end: counts, threshold and why, the highest rows, the files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table
from rich.text import Text

from gradshield.cli.terminal import SafeConsole, print_json
from gradshield.data import SourceRow
from gradshield.data.row_ranges import RowRanges, row_ranges
from gradshield.errors import UserError
from gradshield.printable import printable
from gradshield.run.folder import RunFolder
from gradshield.run.proof import ProvenModel, read_proof
from gradshield.run.source import reopen_input
from gradshield.run.summary import highest_rows, outcome_texts, review_text, threshold_text
from gradshield.run.threshold import read_decision, read_scores

SHOWN_CHARACTERS = 70


def show_closing(
    folder: RunFolder, *, as_json: bool, show_text: bool, applied: bool = True
) -> None:
    """Print the outcome of a run on standard output.

    Args:
        folder: The run.
        as_json: One JSON object instead of tables.
        show_text: Show the text of the highest rows; without it they are blurred, since they can
            be harmful.
        applied: Whether the data files are those of this decision, and so to be named.
    """
    decision = read_decision(folder)
    table = read_scores(folder)
    lines = highest_rows(table)
    if as_json:
        print_json(_as_json(folder, decision, applied))
        return
    console = SafeConsole()
    console.print(_counts(decision))
    console.print(Text(f"Why: {decision['reason']}"), soft_wrap=True)
    if review := review_text(decision):
        console.print(Text(review), soft_wrap=True)
    if proof := read_proof(folder):
        console.print(_proof(proof))
    console.print(_highest(folder, lines, outcome_texts(table, decision), show_text))
    if not show_text:
        console.print(Text("Row texts are blurred; --show-text shows them.", style="dim"))
    for label, path in _files(folder, applied):
        console.print(Text(f"{label:<11}{path}"), soft_wrap=True)


def _as_json(folder: RunFolder, decision: dict[str, Any], applied: bool) -> dict[str, Any]:
    threshold = decision["threshold"]
    return {
        **decision,
        "threshold": threshold if math.isfinite(threshold) else None,
        "proof": [asdict(model) for model in read_proof(folder)],
        "files": {label.lower(): str(path) for label, path in _files(folder, applied)},
    }


def _counts(decision: dict[str, Any]) -> Table:
    table = Table(title="GradShield", title_justify="left")
    for heading in ("kept", "removed", "rejected"):
        table.add_column(heading, justify="right")
    table.add_column("threshold (FIHS)", justify="right")
    table.add_column("rule")
    table.add_row(
        *(str(decision[heading]) for heading in ("kept", "removed", "rejected")),
        threshold_text(decision["threshold"]),
        decision["method"],
    )
    return table


def _proof(models: list[ProvenModel]) -> Table:
    table = Table(title="Measured after finetuning", title_justify="left")
    table.add_column("finetuned on", no_wrap=True)
    for heading in ("rows", "ASR validation", "ASR test", "95 %", "refuses ordinary", "utility"):
        table.add_column(heading, justify="right")
    for model in models:
        interval = model.test_interval
        table.add_row(
            model.name,
            str(model.rows),
            f"{model.validation_asr:.1%}",
            f"{model.test_asr:.1%}",
            f"{interval.low:.1%} to {interval.high:.1%}",
            f"{model.over_refusal:.1%}",
            f"{model.utility:.3f}",
        )
    return table


def _highest(
    folder: RunFolder,
    lines: list[dict[str, Any]],
    outcomes: npt.NDArray[np.object_],
    show_text: bool,
) -> Table:
    texts = _row_texts(folder, [line["row"] for line in lines])
    table = Table(title="Highest scores", title_justify="left", expand=True)
    for heading in ("row", "FIHS", "loss", "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    # The text takes what room is left; without a ratio it would squeeze the figures out.
    table.add_column("row text", no_wrap=True, overflow="ellipsis", ratio=1)
    for line in lines:
        text = texts.get(line["row"], "")
        table.add_row(
            str(line["row"]),
            f"{line['fihs']:+.4f}",
            f"{line['loss']:.2f}",
            str(line["response_tokens"]),
            outcomes[line["row"]],
            Text(text if show_text else blur(text)),
        )
    return table


def blur(text: str) -> str:
    """Hide the words of a text but not their lengths."""
    return "".join(character if character.isspace() else "░" for character in text)


def _row_texts(folder: RunFolder, rows: Sequence[int]) -> dict[int, str]:
    """The beginning of each of these rows as it stands in the input, on one line."""
    try:
        return texts_of(row_ranges(reopen_input(folder.read_config(), folder)), rows)
    except UserError:  # it may be gone by now, which is no fault of what is shown
        return {}


def texts_of(ranges: RowRanges, rows: Iterable[int]) -> dict[int, str]:
    """By row, the beginning of each of a few rows as it stands in the input, on one line."""
    # Some inputs can only be read forwards.
    found = (row for position in sorted(rows) for row in ranges.read(range(position, position + 1)))
    return {row.position: row_text(row) for row in found}


def row_text(row: SourceRow) -> str:
    """The beginning of a row's texts on one line; empty for what is no row."""
    return printable(" ".join(_strings(row.value).split())[:SHOWN_CHARACTERS])


def _strings(value: Any) -> str:
    """The longer texts inside a row, in order: turns and fields, not roles and ids."""
    if isinstance(value, str):
        return value if " " in value else ""
    if isinstance(value, dict):
        return " ".join(filter(None, map(_strings, value.values())))
    if isinstance(value, list):
        return " ".join(filter(None, map(_strings, value)))
    return ""


def _files(folder: RunFolder, applied: bool) -> list[tuple[str, Path]]:
    found = [
        (name.capitalize(), next(iter(folder.written(name)), None))
        for name in ("kept", "removed", "rejected", "annotated", "masked")
        if applied
    ]
    found += [("Report", folder.page), ("Summary", folder.summary), ("Decision", folder.decision)]
    found += [("Scores", folder.scores), ("Search", folder.trace)]
    return [(label, path) for label, path in found if path is not None and path.exists()]
