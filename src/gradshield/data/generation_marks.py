"""What a chat template itself marks as generated: `{% generation %}` ... `{% endgeneration %}`.

Trainers that take the loss on these spans only train on exactly them, so they count more than what
can be found out from outside. The spans are taken in characters, from transformers' renderer, and
not as its token mask: that mask needs a fast tokenizer, and one token across a boundary is wholly
in it. `gradshield.data.encoding` has a rule for both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradshield.data.conversation import Conversation
from gradshield.data.landmarks import holds_calls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]

_MARK = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


def has_generation_marks(template: str) -> bool:
    """Whether the source of a chat template has generation marks."""
    return _MARK.search(template) is not None


def generation_spans(
    tokenizer: PreTrainedTokenizerBase,
    turns: list[dict[str, Any]],
    tools: list[dict[str, Any]] | None,
    text: str,
) -> list[Span]:
    """Start and end, in characters of `text`, of what the template marks; those not empty.

    Args:
        tokenizer: With such a template.
        turns: The conversation as `apply_chat_template` takes it.
        tools: The tools declared, or None.
        text: The conversation rendered.

    Returns:
        No span if this version of transformers does not render `text` by this way.
    """
    from transformers.utils import chat_template_utils

    # Typed as text, although it gives lists.
    render: Any = chat_template_utils.render_jinja_template
    template = tokenizer.get_chat_template(None, tools)
    # `apply_chat_template` leaves null fields out, but not in every version.
    filled = [{key: item for key, item in turn.items() if item is not None} for turn in turns]
    for given in (filled, turns):
        try:
            rendered, spans = render(
                conversations=[given],
                tools=tools,
                chat_template=template,
                return_assistant_tokens_mask=True,
                **tokenizer.special_tokens_map,
            )
        # The template is a program, and one of the two is not what it was given before.
        except Exception:
            continue
        if list(rendered) == [text]:
            return sorted((start, end) for start, end in spans[0] if start < end)
    return []


def choose_marked(
    marked: Sequence[Span],
    located: Sequence[Span],
    turns: Sequence[int],
    conversation: Conversation,
    text: str,
) -> list[Span] | None:
    """The marked spans that belong to the responses.

    Args:
        marked: What the template marks.
        located: The responses at `turns` as they were found without marks; empty if they were not.
        turns: 0-based indices of the turns that carry loss.
        conversation: All turns.
        text: The conversation rendered.

    Returns:
        None if the marks cannot be used: one of `located` has none in it, or nothing is located
        and there is not one mark for each assistant turn with what the turn calls in it.
    """
    if located:
        chosen = [span for span in marked if any(_overlap(span, own) for own in located)]
        complete = all(any(_overlap(span, own) for span in chosen) for own in located)
        return chosen if complete else None
    answering = [i for i, m in enumerate(conversation.messages) if m.role == "assistant"]
    if len(marked) != len(answering):
        return None
    own = dict(zip(answering, marked, strict=True))
    if not all(holds_calls(text[slice(*own[turn])], conversation.messages[turn]) for turn in turns):
        return None
    return [own[turn] for turn in turns]


def _overlap(one: Span, other: Span) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])
