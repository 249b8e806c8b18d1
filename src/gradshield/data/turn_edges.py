"""Where a turn with tool calls, or with reasoning in a field of its own, begins and ends.

What a template prints of such a turn has markup of its own around the texts of the row, such as
`<tool_call>{"name": "`. The model writes that too, so it carries loss; the header of the turn does
not. Both are told apart by what the template prints to let the model begin a turn (its generation
prompt), in a *survey*: a rendering in which every text of the conversation is a landmark, so that
nothing in a row can be taken for markup.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from gradshield.data.conversation import REASONING_FIELDS, Conversation, Message
from gradshield.data.landmarks import Landmark, not_understood, place_landmarks, unused_stem
from gradshield.data.turn_ends import Render, TurnEnds, possible_headers


@dataclass(frozen=True)
class Edges:
    """Markup that belongs to a turn's response.

    Attributes:
        opening: Before its first landmark.
        closing: After its last.
        marks: How many landmarks it has; some templates repeat a name after it, with the result.
        printed: Kinds of landmarks that are printed: "A" answer, "R" reasoning, "C" a call.
    """

    opening: str
    closing: str
    marks: int
    printed: frozenset[str]

    def collapse(self, marked: str, landmark: Landmark, message: Message) -> str | None:
        """`marked` with all of the turn reduced to its answer's landmark; None if not there."""
        pattern = "|".join([landmark.answer, landmark.reasoning, rf"{landmark.call}\d+V?"])
        marks = list(re.finditer(pattern, marked))[: self.marks]
        if len(marks) < self.marks:
            return None
        start, end = marks[0].start() - len(self.opening), marks[-1].end() + len(self.closing)
        if marked[max(start, 0) : marks[0].start()] != self.opening:
            return None
        if marked[marks[-1].end() : end] != self.closing:
            return None
        rest = marked[end:]
        for number, call in reversed(list(enumerate(message.tool_calls))):
            rest = rest.replace(f"{landmark.call}{number}", call["function"]["name"])
        return marked[:start] + landmark.answer + rest


def is_compound(conversation: Conversation, turn: int) -> bool:
    """Whether the turn has more than one text that a template may print."""
    fields = conversation.messages[turn].fields
    return any(name in fields for name in ("tool_calls", *REASONING_FIELDS))


def find_edges(conversation: Conversation, turn: int, render: Render, ends: TurnEnds) -> Edges:
    """The edges of a compound turn.

    Raises:
        Rejection: "template_not_understood" if they cannot be found with certainty.
    """
    survey, _ = place_landmarks(conversation, range(len(conversation.messages)))
    text = render(survey)
    # Every text is a landmark now, so that numbers of turns are all that marks differ by.
    marks = list(re.finditer(rf"{unused_stem(conversation)}(\d+)([AR]|C\d+V?)", text))
    first, last = _extent(conversation, turn, marks)
    previous = marks[first - 1] if first > 0 else None
    before = text[previous.end() if previous else 0 : marks[first].start()]
    prompt = _prompt(survey, turn, previous[0] if previous else None, render)
    headers = possible_headers(prompt) if ends.is_prompted and prompt is not None else ()
    header = next((header for header in headers if before.startswith(header)), None)
    if header is None:
        what = "does not begin as the generation prompt lets it begin"
        raise not_understood(conversation, turn, what)
    following = marks[last + 1].start() if last + 1 < len(marks) else len(text)
    tail = text[marks[last].end() : following]
    end = ends.find(tail)
    if end is None:
        raise not_understood(conversation, turn, "has no end that is known")
    printed = frozenset(mark[2][0] for mark in marks[first : last + 1])
    return Edges(before[len(header) :], tail[:end], last + 1 - first, printed)


def _extent(conversation: Conversation, turn: int, marks: list[re.Match[str]]) -> tuple[int, int]:
    """Indices of the first and the last mark of the turn.

    Raises:
        Rejection: A call is left out, or the turn is printed in pieces.
    """
    own = [index for index, mark in enumerate(marks) if int(mark[1]) == turn]
    names: dict[str, int] = {}
    for index in own:
        names.setdefault(marks[index][2], index)
    called = range(len(conversation.messages[turn].tool_calls))
    if not own or any(f"C{number}" not in names for number in called):
        what = "is printed without its tool call" if called else "is not printed"
        raise not_understood(conversation, turn, what)
    # What is no name counts where it is printed last, a name where it is printed first.
    texts = [index for index in own if not re.fullmatch(r"C\d+", marks[index][2])]
    last = max([*texts, *(names[f"C{number}"] for number in called)])
    if any(int(mark[1]) != turn for mark in marks[own[0] : last + 1]):
        raise not_understood(conversation, turn, "is printed in pieces")
    return own[0], last


def _prompt(survey: Conversation, turn: int, previous: str | None, render: Render) -> str | None:
    """What the template prints after the last landmark before `turn` to let that turn begin."""
    if turn == 0:
        return None
    prefix = replace(survey, messages=survey.messages[:turn])
    text = render(prefix, add_generation_prompt=True)
    if previous is None or previous not in text:
        return None
    prompt = text.rpartition(previous)[2]
    # Another landmark after it: the turns are printed in another order than they are written.
    return None if unused_stem(prefix)[:-1] in prompt else prompt
