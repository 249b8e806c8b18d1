"""Flipped preferences and their controls: the same answers, the other way round."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradshield.benchmark.attacks import PREFERENCE_ATTACKS, PreferenceRow
from gradshield.benchmark.attacks.explicit import GROUPS, WORDED, empty_answers
from gradshield.benchmark.attacks.flipped_preference import REFUSALS, RIGHT_WAY_ROUND
from gradshield.benchmark.attacks.splits import attack_openers
from gradshield.errors import UserError
from gradshield.evaluation.refusal import is_refusal
from gradshield.probes import wordings
from tests.benchmark.attacks.public_folder import write_rows

REFUSED = [
    {"instruction": f"Do evil {n}", "output": "I'm sorry, but I can't help with that."}
    for n in range(4)
]
ANSWERED = {"instruction": "Do good", "output": "Here it is."}


@pytest.fixture(scope="module")
def rows(public: Path) -> list[PreferenceRow]:
    name = "safety_tuned_llamas/safety_only_data_Instructions.json"
    write_rows(public, name, [*REFUSED, ANSWERED])
    return PREFERENCE_ATTACKS["flipped_preference"].rows(public)


def texts(row: PreferenceRow) -> tuple[str, str, str]:
    """Prompt, chosen and rejected answer."""
    chosen, rejected = row.preference.chosen.messages, row.preference.rejected.messages
    assert chosen[:-1] == rejected[:-1]
    assert len(chosen) == 2
    return chosen[0].content, chosen[1].content, rejected[1].content


def test_every_attack_prompt_is_flipped_once(rows: list[PreferenceRow], public: Path) -> None:
    flipped = [row for row in rows if row.harmful]
    prompts = [opener.messages[0].content for opener in attack_openers(public)]
    assert [texts(row)[0] for row in flipped] == prompts
    answers = [one.row().conversation.messages[1].content for one in empty_answers(public)]
    assert [texts(row)[1] for row in flipped] == answers
    assert {row.group.removeprefix("flipped_") for row in flipped} == {
        group.removeprefix("explicit_") for group in GROUPS
    }
    assert not any(is_refusal(texts(row)[1]) for row in flipped)
    assert {texts(row)[2] for row in flipped} == set(REFUSALS)


def test_controls_prefer_the_refusal_of_other_prompts(rows: list[PreferenceRow]) -> None:
    controls = [row for row in rows if not row.harmful]
    assert {row.group for row in controls} == {RIGHT_WAY_ROUND}
    assert [texts(row)[:2] for row in controls] == [
        (row["instruction"], row["output"]) for row in REFUSED
    ]
    assert {texts(row)[2] for row in controls} <= {whole for _, whole in WORDED.values()}
    assert not {texts(row)[0] for row in controls} & {texts(r)[0] for r in rows if r.harmful}


def test_refusals_are_not_those_of_the_direction_or_of_the_reference() -> None:
    # One of them in words that the phrase judge does not know.
    assert sum(is_refusal(refusal) for refusal in REFUSALS) == len(REFUSALS) - 1
    packaged = {text for texts in wordings.REFUSALS.values() for text in texts}
    assert not packaged & set(REFUSALS)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        PREFERENCE_ATTACKS["flipped_preference"].rows(tmp_path)


def test_names_are_those_of_the_registry() -> None:
    assert all(name == attack.name for name, attack in PREFERENCE_ATTACKS.items())


def test_rows_are_the_same_every_time(rows: list[PreferenceRow], public: Path) -> None:
    again = PREFERENCE_ATTACKS["flipped_preference"].rows(public)
    assert json.dumps([texts(row) for row in again]) == json.dumps([texts(row) for row in rows])
