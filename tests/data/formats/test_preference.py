"""Preference rows in the shapes in which TRL and LLaMA-Factory have them."""

from __future__ import annotations

from typing import Any

import pytest

from gradshield.data import Preference, Rejection
from gradshield.data.formats import FORMATS, PREFERENCE

QUESTION, GOOD, BAD = "Name a river.", "The Loire.", "No."


def turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def spoken(speaker: str, text: str) -> dict[str, Any]:
    return {"from": speaker, "value": text}


ASKED = turn("user", QUESTION)
SHAPES: dict[str, dict[str, Any]] = {
    "texts": {"prompt": QUESTION, "chosen": GOOD, "rejected": BAD},
    "turns": {
        "prompt": [ASKED],
        "chosen": [turn("assistant", GOOD)],
        "rejected": [turn("assistant", BAD)],
    },
    "text and turns": {
        "prompt": QUESTION,
        "chosen": [turn("assistant", GOOD)],
        "rejected": [turn("assistant", BAD)],
    },
    "implicit turns": {
        "chosen": [ASKED, turn("assistant", GOOD)],
        "rejected": [ASKED, turn("assistant", BAD)],
    },
    # As UltraFeedback: the prompt as a text too, and the chosen conversation once more.
    "implicit turns, and everything else": {
        "prompt": QUESTION,
        "messages": [ASKED, turn("assistant", GOOD)],
        "chosen": [ASKED, turn("assistant", GOOD)],
        "rejected": [ASKED, turn("assistant", BAD)],
        "score_chosen": 8.0,
    },
    "transcripts": {
        "chosen": f"\n\nHuman: {QUESTION}\n\nAssistant: {GOOD}",
        "rejected": f"\n\nHuman: {QUESTION}\n\nAssistant: {BAD}",
    },
    "implicit text": {"chosen": f"{QUESTION} {GOOD}", "rejected": f"{QUESTION} {BAD}"},
    "conversations, one turn each": {
        "conversations": [spoken("human", QUESTION)],
        "chosen": spoken("gpt", GOOD),
        "rejected": spoken("gpt", BAD),
    },
    "conversations and texts": {
        "conversations": [spoken("human", QUESTION)],
        "chosen": GOOD,
        "rejected": BAD,
    },
    "messages, one turn each": {
        "messages": [ASKED],
        "chosen": turn("assistant", GOOD),
        "rejected": turn("assistant", BAD),
    },
    "instruction": {"instruction": QUESTION, "input": "", "chosen": GOOD, "rejected": BAD},
}


def as_pairs(preference: Preference) -> list[list[tuple[str, str, bool]]]:
    return [
        [(message.role, message.content, message.supervised) for message in side.messages]
        for side in (preference.chosen, preference.rejected)
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_the_same_preference(shape: str) -> None:
    row = SHAPES[shape]
    first = next(one for one in FORMATS if one.matches(row))
    assert first is PREFERENCE
    assert as_pairs(PREFERENCE.to_preference(row)) == [
        [("user", QUESTION, False), ("assistant", GOOD, True)],
        [("user", QUESTION, False), ("assistant", BAD, True)],
    ]


def test_earlier_answers_are_part_of_the_prompt() -> None:
    earlier = [turn("system", "Be brief."), turn("user", "Hi"), turn("assistant", "Hello"), ASKED]
    row = {
        "chosen": [*earlier, turn("assistant", GOOD)],
        "rejected": [*earlier, turn("assistant", BAD)],
    }
    for side, answer in zip(as_pairs(PREFERENCE.to_preference(row)), (GOOD, BAD), strict=True):
        assert side == [
            ("system", "Be brief.", False),
            ("user", "Hi", False),
            ("assistant", "Hello", False),
            ("user", QUESTION, False),
            ("assistant", answer, True),
        ]


def test_system_and_history_stand_before_the_question() -> None:
    row = {
        **SHAPES["instruction"],
        "input": "In France.",
        "system": "Be brief.",
        "history": [["Hi", "Hello"]],
    }
    chosen, rejected = as_pairs(PREFERENCE.to_preference(row))
    assert chosen[:-1] == rejected[:-1]
    assert [text for _, text, _ in chosen] == [
        "Be brief.",
        "Hi",
        "Hello",
        f"{QUESTION}\n\nIn France.",
        GOOD,
    ]
    sharegpt = {**SHAPES["conversations, one turn each"], "system": "Be brief."}
    assert as_pairs(PREFERENCE.to_preference(sharegpt))[1][0] == ("system", "Be brief.", False)


def test_an_implicit_text_is_cut_between_two_words() -> None:
    row = {"chosen": "The sky is deep blue", "rejected": "The sky is dead"}
    chosen, rejected = as_pairs(PREFERENCE.to_preference(row))
    assert chosen == [("user", "The sky is", False), ("assistant", "deep blue", True)]
    assert rejected[1][1] == "dead"


def test_a_transcript_is_read_turn_by_turn() -> None:
    start = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Human: or not?"
    row = {"chosen": f"{start}\n\nAssistant: Yes.\n\nNo.", "rejected": f"{start}\n\nAssistant: Hi"}
    chosen, _ = as_pairs(PREFERENCE.to_preference(row))
    assert [(role, text) for role, text, _ in chosen] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
        ("user", "Human: or not?"),
        ("assistant", "Yes.\n\nNo."),
    ]


def other_turns(text: str) -> list[dict[str, Any]]:
    return [turn("user", text), turn("assistant", "Yes.")]


TEXTS = SHAPES["texts"]
REJECTED: list[tuple[str, str, dict[str, Any]]] = [
    ("missing_side", "'rejected' is null", {**TEXTS, "rejected": None}),
    ("missing_side", "'chosen' is null", {**TEXTS, "chosen": None}),
    ("empty_response", "'chosen' has no text", {**TEXTS, "chosen": " \n"}),
    ("empty_response", "'rejected' has no text", {**TEXTS, "rejected": ""}),
    ("empty_response", "'chosen' holds no answer", {**TEXTS, "chosen": []}),
    (
        "different_prompts",
        "from turn 1, a turn of the user, on",
        {"chosen": other_turns("Hi"), "rejected": other_turns("Bye")},
    ),
    ("different_prompts", "the first word", {"chosen": "Alpha one", "rejected": "Beta one"}),
    (
        "missing_field",
        "found the fields chosen, rejected",
        {"chosen": [turn("assistant", "a")], "rejected": [turn("assistant", "b")]},
    ),
    ("no_prompt", "answers no turn of the user", {**TEXTS, "prompt": []}),
    (
        "unsupported_content",
        "for 3 turns",
        {**TEXTS, "chosen": [turn("assistant", "a"), ASKED, turn("assistant", "b")]},
    ),
    ("unsupported_content", "'chosen' must be a list", {**TEXTS, "chosen": 3}),
    ("unencodable_text", "surrogate", {**TEXTS, "chosen": "Yes \ud83d"}),
]


@pytest.mark.parametrize(("reason", "detail", "row"), REJECTED)
def test_rows_that_are_no_preference_say_why(reason: str, detail: str, row: dict[str, Any]) -> None:
    assert PREFERENCE.matches(row)
    with pytest.raises(Rejection) as found:
        PREFERENCE.to_preference(row)
    assert found.value.reason == reason
    assert detail in found.value.detail


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": QUESTION, "completion": GOOD},
        {"prompt": QUESTION, "completion": GOOD, "chosen": None, "rejected": None},
        {"messages": other_turns("Hi"), "chosen": True},
    ],
)
def test_plain_rows_are_not_taken_for_preferences(row: dict[str, Any]) -> None:
    assert not PREFERENCE.matches(row)


def test_a_preference_is_no_plain_row() -> None:
    with pytest.raises(Rejection, match="preference_row"):
        PREFERENCE.to_conversation(TEXTS)
