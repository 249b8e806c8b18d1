"""Rows as a page shows them: turns, with the pieces of their response tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

from gradshield.data import Conversation, SourceRow

MOST_CHARACTERS = 100_000
"""Of one row in the page; a longer one is cut there, and the page says where to read the rest."""

TOKENS_ROLE, ROW_ROLE = "response tokens", "row"
"""Names of what is shown beside turns: tokens that no turn could be matched with, a row as is."""

_TELLING = 20
"""Characters by which the beginning of an answer is recognised."""


@dataclass(frozen=True)
class ShownTurn:
    """A piece of a row.

    Attributes:
        role: Of the turn, or `TOKENS_ROLE` or `ROW_ROLE`.
        text: What is shown. In a turn that carries loss it is what the model reads, the
            end-of-turn token included, and after it what was cut away before scoring.
        lengths: Characters of each response token, from the beginning of `text`; empty for a turn
            that carries no loss.
    """

    role: str
    text: str
    lengths: tuple[int, ...] = ()


def show_conversation(
    conversation: Conversation,
    response: Literal["all", "last"],
    pieces: Sequence[str],
    *,
    truncated: bool = False,
) -> list[ShownTurn]:
    """The turns of a conversation, those that carry loss as their response tokens.

    A template may change an answer, and a tokenizer its letters. Where an answer is not found in
    the tokens, all turns are shown as they stand in the row, and the tokens after them.

    Args:
        conversation: As the row's format reads it.
        response: Which assistant turns carry loss.
        pieces: Text of each response token; empty where they are not known.
        truncated: Whether tokens were cut away, so that an answer may break off.
    """
    turns = [ShownTurn(message.role, message.content) for message in conversation.messages]
    if not pieces:
        return turns
    answers = conversation.response_turns if response == "all" else conversation.response_turns[-1:]
    contents = [turns[index].text.strip() for index in answers]
    found = _split_at_answers(contents, pieces, truncated=truncated)
    if found is None:
        return [*turns, ShownTurn(TOKENS_ROLE, "".join(pieces), tuple(map(len, pieces)))]
    for index, (part, unscored) in zip(answers, found, strict=True):
        text = "".join(part) + unscored
        turns[index] = ShownTurn(turns[index].role, text, tuple(map(len, part)))
    return turns


def _split_at_answers(
    answers: Sequence[str], pieces: Sequence[str], *, truncated: bool
) -> list[tuple[Sequence[str], str]] | None:
    """For each answer its pieces and the rest of it that has none; None if one is not found."""
    text = "".join(pieces)
    spans: list[tuple[int, int]] = []
    for answer in answers:
        at = spans[-1][1] if spans else 0
        span = _whole(text, answer, at) or (_beginning(text, answer, at) if truncated else None)
        if span is None:
            return None
        spans.append(span)
    # What stands before the first answer, such as the tag of a reasoning block, goes with it.
    starts = list(accumulate(map(len, pieces), initial=0))
    firsts = [0, *(bisect_right(starts, start) - 1 for start, _ in spans[1:]), len(pieces)]
    return [
        (pieces[first:following], answer[end - start :])
        for answer, (start, end), (first, following) in zip(
            answers, spans, pairwise(firsts), strict=True
        )
    ]


def _whole(text: str, answer: str, at: int) -> tuple[int, int] | None:
    start = text.find(answer, at)
    return (start, start + len(answer)) if start >= 0 else None


def _beginning(text: str, answer: str, at: int) -> tuple[int, int] | None:
    """Where the text breaks off within an answer, or before it and after another answer."""
    start = text.find(answer[:_TELLING], at)
    if start >= 0 and answer.startswith(text[start:]):
        return start, len(text)
    for length in range(min(_TELLING, len(text) - at), 0, -1):
        if answer.startswith(text[-length:]):
            return len(text) - length, len(text)
    return (len(text), len(text)) if at > 0 else None


def show_raw(row: SourceRow) -> list[ShownTurn]:
    """A row that is no conversation, as it stands in its file."""
    if row.content is not None:
        return [ShownTurn(ROW_ROLE, row.content.decode("utf-8", "replace"))]
    return [ShownTurn(ROW_ROLE, str(row.value))]


def cut_to(turns: Sequence[ShownTurn], most: int = MOST_CHARACTERS) -> tuple[list[ShownTurn], int]:
    """The turns with at most so many characters in all, and how many were left out."""
    left, shown = most, []
    for turn in turns:
        shown.append(ShownTurn(turn.role, turn.text[:left], turn.lengths))
        left -= len(shown[-1].text)
    return shown, sum(len(turn.text) for turn in turns) - (most - left)
