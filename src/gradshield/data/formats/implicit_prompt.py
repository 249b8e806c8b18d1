"""Prompts that a preference row does not name: what its two sides begin with alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from gradshield.data.conversation import Message, Rejection

_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def split_turns(
    chosen: Sequence[Message], rejected: Sequence[Message]
) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected answer of two whole conversations.

    Raises:
        Rejection: "different_prompts" if they part before an answer does.
    """
    shared = list(chosen[: _alike(chosen, rejected)])
    rests = [list(side[len(shared) :]) for side in (chosen, rejected)]
    # Answers that are alike belong to no prompt: they are told of as such.
    if not any(rests) and shared[-1:] and shared[-1].role == "assistant":
        return shared[:-1], [shared[-1]], [shared[-1]]
    for rest in rests:
        if rest and rest[0].role != "assistant":
            raise _different(f"turn {len(shared) + 1}, a turn of the {rest[0].role},")
    return shared, rests[0], rests[1]


def split_texts(chosen: str, rejected: str) -> tuple[list[Message], list[Message], list[Message]]:
    """Prompt, chosen and rejected answer of two texts.

    Transcripts of `Human:` and `Assistant:`, each after a blank line, are read turn by turn. Of
    other texts the prompt is what both begin with, up to the last white space in it, so that no
    word is cut: what the answers then still begin with alike adds nothing to the score.

    Raises:
        Rejection: "different_prompts" if the texts do not begin alike.
    """
    turns = _transcript(chosen), _transcript(rejected)
    if turns[0] and turns[1]:
        return split_turns(*turns)
    shared = chosen[: _alike(chosen, rejected)]
    end = max((space.end() for space in re.finditer(r"\s", shared)), default=0)
    prompt = shared[:end].strip()
    if not prompt:
        raise _different("the first word")
    answers = [Message("assistant", side[end:]) for side in (chosen, rejected)]
    return [Message("user", prompt)], answers[:1], answers[1:]


def _alike(some: Sequence[object], others: Sequence[object]) -> int:
    """Number of leading items that are the same."""
    pairs = zip(some, others, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _transcript(text: str) -> list[Message]:
    """Turns of a transcript, none if the text is not one from its beginning on."""
    before, *parts = _TURN.split(text)
    if before.strip() or "Assistant" not in parts[::2]:
        return []
    speakers, said = parts[::2], parts[1::2]
    return [
        Message(_SPEAKERS[speaker], words.strip())
        for speaker, words in zip(speakers, said, strict=True)
    ]


def _different(where: str) -> Rejection:
    return Rejection(
        "different_prompts",
        f"'chosen' and 'rejected' differ from {where} on, so they do not answer one prompt; give "
        "both the same prompt, or name it in 'prompt'",
    )
