"""Running a chat template: a program that comes with a model, and so with somebody's model.

transformers runs it in Jinja's sandbox, which keeps it from attributes that lead to Python and from
changing its input, but bounds neither time nor memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from gradshield.bounds import bounded_memory, bounded_time

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MOST_SECONDS = 20.0
"""Of one conversation; templates take milliseconds."""
MOST_MEMORY = 4 * 2**30
"""Beyond what the process has already, in bytes."""
MOST_TIMES, MOST_MORE = 10, 2**20
"""Characters that are printed for each that a conversation has, and for all templates' own text."""


class TooMuchPrinted(Exception):  # noqa: N818, the name says what happened
    """A template prints far more than the conversation that it is given."""


def apply_template(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Mapping[str, Any]], **options: Any
) -> Any:
    """What the tokenizer's chat template makes of turns, within bounds.

    Args:
        tokenizer: With a chat template.
        turns: As `apply_chat_template` takes them.
        options: As `apply_chat_template` takes them.

    Raises:
        OutOfTime: It takes longer than `MOST_SECONDS`, where the system can tell.
        MemoryError: It takes more than `MOST_MEMORY`, where the system can tell.
        TooMuchPrinted: The text is longer than any template's.
        Exception: Whatever the template raises.
    """
    with bounded_time(MOST_SECONDS), bounded_memory(MOST_MEMORY):
        printed: Any = tokenizer.apply_chat_template(cast(Any, turns), **options)
    most = MOST_TIMES * (_characters(turns) + _characters(options)) + MOST_MORE
    if isinstance(printed, str) and len(printed) > most:
        raise TooMuchPrinted(f"it prints {len(printed):,} characters, more than {most:,}")
    return printed


def _characters(value: Any) -> int:
    """Characters of all texts in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.keys())) + sum(map(_characters, value.values()))
    if isinstance(value, Sequence):
        return sum(map(_characters, value))
    return 0
