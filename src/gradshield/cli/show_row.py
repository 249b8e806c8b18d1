"""One row in the terminal: its tokens shaded by what they add to the score, and its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rich.text import Text

from gradshield.cli.closing import blur, texts_of
from gradshield.cli.display import Display
from gradshield.cli.terminal import SafeConsole
from gradshield.config import RunConfig
from gradshield.data import DataSource, SourceRow
from gradshield.data.row_ranges import RowRanges, row_ranges
from gradshield.printable import one_line, printable_lines
from gradshield.reporting.build import Report
from gradshield.reporting.conversations import ShownTurn, cut_to, show_conversation, show_raw
from gradshield.reporting.details import conversation_of, shading_scale, worst_window
from gradshield.reporting.document import ReportRow
from gradshield.run.folder import RunFolder
from gradshield.run.overrides import read_overrides
from gradshield.run.report_inputs import row_reader, token_pieces
from gradshield.run.summary import score_text

MOST_CHARACTERS = 20_000
"""Of a row on the screen."""
SHOWN_TOKENS = 5
SHOWN_DUPLICATES = 10

_HARMFUL = ("#ffe3dc", "#ffc2b3", "#ff9a80", "#f56b4d")
_SAFE = ("#dcecff", "#b3d4ff", "#80b5ff", "#5c99f0")
"""Backgrounds from faint to strong: towards answering harmful prompts, and towards refusing."""


def show_row(
    console: SafeConsole,
    config: RunConfig,
    folder: RunFolder,
    report: Report,
    source: DataSource | None,
    position: int,
    show_text: bool,
) -> None:
    """Print all evidence on a row.

    Args:
        console: Where to.
        config: The configuration of the run.
        folder: The run folder.
        report: The report of the run.
        source: The input; None where it is gone, then no text is shown.
        position: The row.
        show_text: Show texts, which can be harmful; else they are blurred.
    """
    table, ranges = report.run.table, None if source is None else row_ranges(source)
    (row,), line = report.rows(np.array([position])), table.lines_of([position])[position]
    veil: Callable[[str], str] = (lambda text: text) if show_text else blur
    _print(console, _heading(row), style="bold")
    for text in (*_place(row, report), *_reviews(folder, row)):
        _print(console, text)
    if source is not None and ranges is not None:
        pieces, notes = token_pieces(config, folder, Display(quiet=True))
        for note in notes:
            _print(console, note)
        texts = [] if pieces is None else pieces.of(line["token_ids"] or [])
        (stored,) = ranges.read(range(position, position + 1))
        conversation = conversation_of(stored, row_reader(config, source))
        turns = _turns(config, stored, line, texts, conversation)
        contributions = line["token_fihs"] or []
        _show_turns(console, turns, contributions, shading_scale(table), veil)
        _show_tokens(console, config, contributions, texts, veil)
    _show_neighbours(console, report, row, ranges, veil)


def _print(console: SafeConsole, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _heading(row: ReportRow) -> str:
    names = [f"Row {row.row}"]
    if row.line is not None:
        names.append(f"line {row.line}")
    if row.id is not None:
        names.append(f"id {one_line(row.id)}")
    names.append(f"source {one_line(row.source)}")
    return ", ".join(names)


def _place(row: ReportRow, report: Report) -> list[str]:
    """Score, place among all rows, and findings."""
    if row.fihs is None:
        return [f"{row.outcome}: could not be scored: {one_line(row.reason or '')}"]
    scored = report.evidence.scores.size
    distance = "no threshold" if row.distance is None else f"{row.distance:+.4f} from the threshold"
    cut = ", cut to the maximum length" if row.truncated else ""
    meanings = {finding.code: finding.meaning for finding in report.head.findings}
    return [
        f"{row.outcome}: FIHS {score_text(row.fihs)}, {distance}; rank {row.rank} of {scored}, "
        f"percentile {row.percentile:.1f}; loss {row.loss:.2f} over {row.response_tokens} response "
        f"tokens{cut}.",
        *(f"{code}: {meanings[code]}" for code in row.findings),
    ]


def _reviews(folder: RunFolder, row: ReportRow) -> list[str]:
    """Every line of the trail on the row, oldest first."""
    found = [
        f"{one_line(said.reviewer)}, {said.time:%Y-%m-%d %H:%M}: {said.action}: "
        f"{one_line(said.reason)}"
        + ("" if said.expires is None else f" (expires {said.expires:%Y-%m-%d})")
        for said in read_overrides(folder)
        if said.row == row.row
    ]
    return ["Reviewers said:", *(f"  {text}" for text in found)] if found else []


def _turns(
    config: RunConfig,
    row: SourceRow,
    line: Mapping[str, Any],
    texts: Sequence[str],
    conversation: Any,
) -> Sequence[ShownTurn]:
    if conversation is None:
        return show_raw(row)
    truncated = bool(line["truncated"])
    return show_conversation(conversation, config.data.response, texts, truncated=truncated)


def _show_turns(
    console: SafeConsole,
    turns: Sequence[ShownTurn],
    contributions: Sequence[float],
    scale: float,
    veil: Callable[[str], str],
) -> None:
    shown, left_out = cut_to(turns, MOST_CHARACTERS)
    if any(turn.lengths for turn in shown) and contributions:
        legend = Text("\nShades: ").append(" adds to the score ", f"black on {_HARMFUL[-1]}")
        console.print(legend.append(" ").append(" takes from it ", f"black on {_SAFE[-1]}"))
    token = 0
    for turn in shown:
        console.print(Text(f"\n{one_line(turn.role)}:", style="bold"))
        body, at = Text(), 0
        for length in turn.lengths:
            piece = turn.text[at : at + length]
            style = _shade(contributions[token], scale) if token < len(contributions) else ""
            body.append(veil(printable_lines(piece)), style=style)
            at += length
            token += 1
        # A turn without loss, or what was cut away before scoring.
        body.append(veil(printable_lines(turn.text[at:])), style="dim" if turn.lengths else "")
        console.print(body, soft_wrap=True)
    if left_out:
        _print(console, f"… and {left_out} characters more")


def _shade(contribution: float, scale: float) -> str:
    """Style of a token: fainter shades for less than a quarter, a half and three quarters."""
    strength = min(abs(contribution) / scale, 1.0)
    level = min(int(4 * strength + 0.5), 4)
    if level == 0:
        return ""
    return f"black on {(_HARMFUL if contribution > 0 else _SAFE)[level - 1]}"


def _show_tokens(
    console: SafeConsole,
    config: RunConfig,
    contributions: Sequence[float],
    texts: Sequence[str],
    veil: Callable[[str], str],
) -> None:
    """The same in words, where there are no colours."""
    if not contributions:
        return
    _print(console, "\nTokens that add most to the score (of the response, counted from 1):")
    order = sorted(range(len(contributions)), key=lambda token: -contributions[token])
    for token in order[:SHOWN_TOKENS]:
        text = veil(one_line(texts[token])) if token < len(texts) else ""
        _print(console, f"  {token + 1:>5}  {contributions[token]:+.5f}  {text}")
    window = worst_window(contributions, config.scoring.reduction)
    if window is not None:
        _print(console, f"The window that weighs most: tokens {window[0] + 1} to {window[1]}.")


def _show_neighbours(
    console: SafeConsole,
    report: Report,
    row: ReportRow,
    ranges: RowRanges | None,
    veil: Callable[[str], str],
) -> None:
    group = report.evidence.group_of(row.row)
    group = group[group != row.row]
    more = f" ({len(group)} rows)" if len(group) > SHOWN_DUPLICATES else ""
    listed: dict[str, Sequence[int]] = {
        "Nearest kept rows by score": row.nearest_kept,
        "Nearest removed rows by score": row.nearest_removed,
        f"Nearly the same response{more}": group[:SHOWN_DUPLICATES].tolist(),
    }
    for title, others in listed.items():
        if others:
            _print(console, f"\n{title}:")
        texts = {} if ranges is None else texts_of(ranges, others)
        for other in report.rows(np.array(others, dtype=np.int64)):
            score, text = score_text(other.fihs), veil(texts.get(other.row, ""))
            _print(console, f"  row {other.row:>6}  {score}  {other.outcome:<8}  {text}")
