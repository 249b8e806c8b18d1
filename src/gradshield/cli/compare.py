"""`gradshield compare`: what changed between two runs, or between two evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from gradshield.cli import options as o
from gradshield.cli.terminal import SafeConsole, print_json
from gradshield.errors import UserError
from gradshield.printable import one_line
from gradshield.run.compare import Comparison, compare_evaluations
from gradshield.run.compare_runs import RunComparison, compare_runs
from gradshield.run.folder import RunFolder
from gradshield.run.summary import score_text

SHOWN_ROWS = 20
SHOWN_CHARACTERS = 40


def compare_command(
    first: Annotated[
        Path, typer.Argument(help="Run folder, or folder of an evaluation.", show_default=False)
    ],
    second: Annotated[Path, typer.Argument(help="Another of the kind.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap, of evaluations.")] = 0,
    fail_if_changed: Annotated[
        bool,
        typer.Option(
            "--fail-if-changed",
            help=(
                "Exit with 2 if a row has another outcome, or is in one run alone; of evaluations, "
                "if an interval does not hold 0."
            ),
        ),
    ] = False,
    json: o.JsonOption = False,
) -> None:
    """Compare two runs row by row, or two evaluations prompt by prompt and item by item.

    Of runs: what made them and differs, how many rows were kept and removed in each, which rows
    changed sides, and how alike the scores rank the rows. Rows are the same by position in the same
    data, else by their content or their id.

    Of evaluations: differences, SECOND minus FIRST, with 95 % intervals by a paired bootstrap: what
    both find hard cancels. An interval without 0 is a difference that chance hardly makes.

    Example: gradshield compare runs/monday runs/tuesday --fail-if-changed
    """
    kinds = [RunFolder(path).config.is_file() for path in (first, second)]
    if kinds[0] != kinds[1]:
        run, other = (first, second) if kinds[0] else (second, first)
        raise UserError(
            f"{run} is a run and {other} is none: compare two runs, or two evaluations."
        )
    if kinds[0]:
        changed = _compare_runs(first, second, json)
    else:
        changed = _compare_evaluations(first, second, seed, json)
    if changed and fail_if_changed:
        raise typer.Exit(2)


def _compare_runs(first: Path, second: Path, as_json: bool) -> bool:
    """Print the comparison; returns whether rows differ."""
    found = compare_runs(RunFolder(first), RunFolder(second))
    if as_json:
        print_json(asdict(found))
    else:
        _show_runs(SafeConsole(), found)
    return not found.same_rows


def _show_runs(console: SafeConsole, found: RunComparison) -> None:
    if found.settings:
        entries = [(name, _short(a), _short(b)) for name, (a, b) in found.settings.items()]
        console.print(_columns("What made them", ("", "first", "second"), entries))
    else:
        console.print("Both were made with the same inputs and settings.")
    counts = [(name, str(a), str(b), f"{b - a:+d}") for name, (a, b) in found.counts.items()]
    console.print(_columns("Rows", ("", "first", "second", "difference"), counts))
    for line in _sentences(found):
        console.print(Text(line), soft_wrap=True)
    if found.changed:
        rows = [
            (
                str(row.first_row),
                str(row.second_row),
                one_line(row.id or "", SHOWN_CHARACTERS),
                score_text(row.first_fihs),
                score_text(row.second_fihs),
                f"{row.first} → {row.second}",
            )
            for row in found.changed[:SHOWN_ROWS]
        ]
        heads = ("row", "row in second", "id", "FIHS", "FIHS in second", "outcome")
        console.print(_columns("Rows that changed sides", heads, rows))
    if found.changed[SHOWN_ROWS:]:
        console.print(f"and {len(found.changed) - SHOWN_ROWS} more; --json has all of them.")


def _sentences(found: RunComparison) -> list[str]:
    moves = ", ".join(f"{count} {move}" for move, count in found.moves.items()) or "none"
    rank = found.rank_correlation
    alike = "cannot be told" if rank is None else f"{rank:+.4f}"
    edited = f", {found.edited} of them edited" if found.edited else ""
    return [
        f"In both: {found.pairs} rows{edited}, the same by {found.matched_by}; only in the first "
        f"{len(found.only_first)}, only in the second {len(found.only_second)}.",
        f"Changed sides: {moves}.",
        f"Rank correlation of the scores (Spearman): {alike}.",
    ]


def _compare_evaluations(first: Path, second: Path, seed: int, as_json: bool) -> bool:
    """Print the comparison; returns whether a difference is more than chance."""
    comparisons = compare_evaluations(first, second, seed)
    if as_json:
        print_json([asdict(one) for one in comparisons])
    else:
        heads = ("measured", "both", "first", "second", "difference", "95 %")
        entries = [(one.name, str(one.pairs), *_figures(one)) for one in comparisons]
        SafeConsole().print(_columns("Second against first", heads, entries))
    return any(map(_decides, comparisons))


def _decides(one: Comparison) -> bool:
    return one.low > 0 or one.high < 0


def _figures(one: Comparison) -> tuple[str, ...]:
    difference = f"{one.difference:+.3f}{' *' if _decides(one) else ''}"
    return f"{one.first:.3f}", f"{one.second:.3f}", difference, f"{one.low:+.3f} to {one.high:+.3f}"


def _columns(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose first column is of words and whose others are of figures."""
    table = Table(title=title, title_justify="left")
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _short(value: Any) -> str:
    return one_line(str(value), SHOWN_CHARACTERS)
