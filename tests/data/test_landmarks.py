from __future__ import annotations

import pytest

from gradshield.data import Conversation, Message, Rejection
from gradshield.data.landmarks import (
    Landmark,
    locate_answers,
    place_landmarks,
    split_at_landmarks,
)
from tests.data.masks import talk


def test_landmarks_replace_the_answers_and_nothing_else() -> None:
    conversation = talk("LANDMARK", "LANDMARKX", "c", "<think>r</think>d")
    marked, landmarks = place_landmarks(conversation, [1, 3])
    assert [landmark.turn for landmark in landmarks] == [1, 3]
    assert [m.role for m in marked.messages] == [m.role for m in conversation.messages]
    assert [m.content for m in marked.messages] == [
        "LANDMARK",
        "LANDMARKXX1A",
        "c",
        "<think>LANDMARKXX3R</think>LANDMARKXX3A",
    ]


def test_glue_is_what_stands_around_the_landmarks() -> None:
    one, two = Landmark(1, "L1A", "L1R"), Landmark(3, "L3A", "L3R")
    marked = "<u>a<a>L1A<end><u>c<a><think>\nL3R\n</think>\n\nL3A<end>"
    glue = split_at_landmarks(marked, [one, two], talk("a", "b", "c", "d"))
    assert glue == ["<u>a<a>", "<end><u>c<a>", "<end>"]


@pytest.mark.parametrize("marked", ["<a><end>", "L1A L1A", "L3A then L1A"])
def test_an_answer_must_be_printed_once_and_in_order(marked: str) -> None:
    landmarks = [Landmark(1, "L1A", "L1R"), Landmark(3, "L3A", "L3R")]
    with pytest.raises(Rejection, match="not printed exactly once") as rejection:
        split_at_landmarks(marked, landmarks, talk("a", "b", "c", "d"))
    assert rejection.value.reason == "template_not_understood"


def located(text: str, glue: list[str], *contents: str) -> list[str]:
    messages = tuple(Message("assistant", content) for content in contents)
    landmarks = [Landmark(i, f"L{i}A", f"L{i}R") for i in range(len(contents))]
    spans = locate_answers(text, glue, landmarks, Conversation(messages))
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("text", "glue", "contents", "answers"),
    [
        ("<b>b<e>", ["<b>", "<e>"], ["b"], ["b"]),
        ("<b> b <e>", ["<b>", "<e>"], [" b "], [" b "]),
        ("<b>b<e>", ["<b>", "<e>"], [" b "], ["b"]),
        ("<b> b<e>", ["<b>", "<e>"], [" b "], [" b"]),
        ("<b> b<e>", ["<b> ", "<e>"], [" b "], ["b"]),
        ("13", ["", ""], ["<think>x</think>13"], ["13"]),
        ("<b><think>\nx\n13", ["<b>", ""], ["x13"], ["<think>\nx\n13"]),
        ("[b][b]", ["[", "][", "]"], ["b", "b"], ["b", "b"]),
        # An answer that holds the text after it, and the one that follows it exactly.
        ("[a][b][c]", ["[", "][", "]"], ["a][b", "c"], ["a][b", "c"]),
        ("[ a][b ][c]", ["[", "][", "]"], [" a][b ", "c"], [" a][b ", "c"]),
        # The template has cut the bracket of the answer.
        ("[a]", ["[", "]"], ["a]"], ["a"]),
        ("ab", ["", "", ""], ["a", "b"], ["a", "b"]),
    ],
)
def test_answers_are_found_between_the_glue(
    text: str, glue: list[str], contents: list[str], answers: list[str]
) -> None:
    assert located(text, glue, *contents) == answers


@pytest.mark.parametrize(
    ("text", "glue", "contents"),
    [
        ("<c>b<e>", ["<b>", "<e>"], ["b"]),  # another text before the answer
        ("<b>b<f>", ["<b>", "<e>"], ["b"]),  # another text after it
        ("<b>B<e>", ["<b>", "<e>"], ["b"]),  # rewritten
        ("<b><e>", ["<b>", "<e>"], ["b"]),  # left out
        ("<b>b<e>more<e>", ["<b>", "<e>"], ["b"]),  # text that is in no part
        ("<b>bx<e>c<e>", ["<b>", "<e>", "<e>"], ["b", "c"]),
        ("axb", ["", "", ""], ["a", "b"]),
    ],
)
def test_what_does_not_add_up_is_refused(text: str, glue: list[str], contents: list[str]) -> None:
    with pytest.raises(Rejection, match=r"turn \d \(assistant\)") as rejection:
        located(text, glue, *contents)
    assert rejection.value.reason == "template_not_understood"
