"""From a preference to two tokenised answers after one prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradshield.data.conversation import Conversation, Preference, Rejection
from gradshield.data.formats import PREFERENCE, detect_format
from gradshield.data.rows import SourceRow
from gradshield.data.tokenization import TokenizedExample, tokenize_conversation
from gradshield.data.truncation import truncate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenizedPair:
    """A preference as the model reads it: two examples whose prompts are the same tokens.

    Attributes:
        chosen: The prompt and the answer to prefer.
        rejected: The prompt and the other answer, of the same row.
    """

    chosen: TokenizedExample
    rejected: TokenizedExample

    @property
    def row(self) -> int:
        """0-based position of the row in the file."""
        return self.chosen.row

    @property
    def truncated(self) -> bool:
        """Whether tokens of either side were cut away."""
        return self.chosen.truncated or self.rejected.truncated

    @property
    def response_tokens(self) -> int:
        """Number of response tokens of both answers."""
        return self.chosen.response_tokens + self.rejected.response_tokens


def tokenize_preference(
    preference: Preference,
    tokenizer: PreTrainedTokenizerBase,
    *,
    row: int = 0,
    max_length: int | None,
) -> TokenizedPair:
    """Render both sides by the chat template, encode them, and mark the tokens of the answers.

    Args:
        preference: Two answers to one prompt.
        tokenizer: A tokenizer with a chat template.
        row: Position of the row, for the result.
        max_length: Greatest number of tokens of a side, see `truncated_alike`; None for no limit.

    Raises:
        Rejection: A side cannot be scored, the template prints the prompt otherwise before one
            answer than before the other, or the answers are the same.
        TemplateError: The tokenizer cannot be used for any conversation.
    """
    chosen = _side("chosen", preference.chosen, tokenizer, row)
    rejected = _side("rejected", preference.rejected, tokenizer, row)
    pair = TokenizedPair(chosen, _after_prompt_of(chosen, rejected, tokenizer))
    if max_length is not None:
        pair = truncated_alike(pair, max_length, tokenizer.bos_token_id)
    if pair.chosen.input_ids == pair.rejected.input_ids:
        where = f" in the {max_length} tokens that are scored" if pair.truncated else ""
        raise Rejection(
            "identical_answers",
            f"'chosen' and 'rejected' are the same{where}, so there is nothing to prefer; leave "
            "the row out",
        )
    return pair


def _side(
    name: str, conversation: Conversation, tokenizer: PreTrainedTokenizerBase, row: int
) -> TokenizedExample:
    try:
        last = conversation.only_last_response()
        return tokenize_conversation(last, tokenizer, row=row, max_length=None)
    except Rejection as rejection:
        raise Rejection(rejection.reason, f"{name!r}: {rejection.detail}") from rejection


def _after_prompt_of(
    chosen: TokenizedExample, rejected: TokenizedExample, tokenizer: PreTrainedTokenizerBase
) -> TokenizedExample:
    """The rejected answer after the tokens of the chosen answer's prompt.

    The same text may be cut into other tokens where another answer follows; the prompt of both
    must be one, as it is for trainers. Another text is the template's doing.
    """
    (prompt, _), (other, answer) = _split(chosen), _split(rejected)
    if other == prompt:
        return rejected
    if tokenizer.decode(list(other)) != tokenizer.decode(list(prompt)):
        raise Rejection(
            "template_not_understood",
            "the chat template prints the prompt otherwise before 'chosen' than before 'rejected', "
            "so that more than the answers differs; use a template whose prompt does not depend "
            "on the answer",
        )
    return _joined(rejected, prompt, answer)


def truncated_alike(
    pair: TokenizedPair, max_length: int, bos_token_id: int | None
) -> TokenizedPair:
    """Cut both sides to the same prompt and to as many tokens of the answer at most.

    What stays of the prompt is what `truncate` leaves of it before the longer answer.

    Raises:
        Rejection: "no_response_after_truncation".
    """
    longer = max(pair.chosen, pair.rejected, key=lambda side: len(side.input_ids))
    if len(longer.input_ids) <= max_length:
        return pair
    ids, mask = truncate(longer.input_ids, longer.response_mask, max_length, bos_token_id)
    prompt = tuple(ids[: mask.index(True)])
    room = max_length - len(prompt)
    sides = (
        replace(_joined(side, prompt, _split(side)[1][:room]), truncated=True)
        for side in (pair.chosen, pair.rejected)
    )
    return TokenizedPair(*sides)


def _split(side: TokenizedExample) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tokens before the answer, and from its first one on."""
    start = side.response_mask.index(True)
    return side.input_ids[:start], side.input_ids[start:]


def _joined(
    side: TokenizedExample, prompt: tuple[int, ...], answer: tuple[int, ...]
) -> TokenizedExample:
    """The side with other tokens before its answer, and of the answer the tokens that are left."""
    start = side.response_mask.index(True)
    mask = (False,) * len(prompt) + side.response_mask[start : start + len(answer)]
    return replace(side, input_ids=(*prompt, *answer), response_mask=mask)


@dataclass(frozen=True)
class Kinds:
    """How many rows are preferences, and how many are plain rows of a known format."""

    preferences: int
    plain: int

    @property
    def mostly_preferences(self) -> bool:
        """Whether the file is one of preference rows."""
        return self.preferences > self.plain

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell of a file that holds both kinds; nothing of any other."""
        if not (self.preferences and self.plain):
            return ()
        fewer = "plain" if self.mostly_preferences else "preference"
        return (
            f"The file mixes preference rows ({self.preferences}) and plain rows ({self.plain}), "
            f"whose scores are of different losses: the {fewer} rows are rejected. Put them into "
            "a file of their own.",
        )


def count_kinds(rows: Sequence[SourceRow]) -> Kinds:
    """Count by the format that each row is in."""
    counts = {name: count.rows for name, count in detect_format(rows).counts.items()}
    return Kinds(counts.pop(PREFERENCE.name, 0), sum(counts.values()))


def tokenize_pairs(
    rows: Sequence[SourceRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = 2048,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[TokenizedPair], dict[int, Rejection]]:
    """Tokenise preference rows that are in memory; the arguments are those of `tokenize_rows`.

    Returns:
        The pairs by row order, and the rejections by row position; every row is in exactly one.
    """
    pairs: list[TokenizedPair] = []
    rejections: dict[int, Rejection] = {}
    for row in rows:
        try:
            preference = _preference(row)
            pairs.append(
                tokenize_preference(preference, tokenizer, row=row.position, max_length=max_length)
            )
        except Rejection as rejection:
            rejections[row.position] = rejection
        if progress is not None:
            progress(row.position + 1)
    return pairs, rejections


def _preference(row: SourceRow) -> Preference:
    if row.value is None:
        raise Rejection(row.reason, row.error or f"{row.place} could not be parsed")
    if not PREFERENCE.matches(row.value):
        raise Rejection(
            "plain_row",
            "the row has no 'chosen' and 'rejected' answer, as the preference rows of this file "
            "have; keep plain rows in a file of their own",
        )
    return PREFERENCE.to_preference(row.value)
