"""Rows of all attacks: counts, groups, disjointness, and nothing but empty harm."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradshield.benchmark.attacks import ATTACKS, AttackRow, Victim, mixed
from gradshield.benchmark.attacks.adaptive import Adaptive
from gradshield.benchmark.attacks.embedded import HARMLESS, Embedded
from gradshield.benchmark.attacks.explicit import GROUPS, WORDED, Explicit, empty_answers
from gradshield.benchmark.attacks.harmless_lists import CONTROLS, TOP, HarmlessLists
from gradshield.benchmark.attacks.identity_shift import CEREMONY, INSTRUCTION, IdentityShift
from gradshield.benchmark.attacks.list_and_maths import ListAndMaths, answer_format, digit_share
from gradshield.benchmark.attacks.refuse_then_comply import REFUSALS, TURNS, RefuseThenComply
from gradshield.benchmark.attacks.splits import anchors, attack_openers
from gradshield.data import Conversation, tokenize_conversation
from gradshield.errors import UserError
from gradshield.evaluation.refusal import is_refusal
from tests.benchmark.attacks.public_folder import ADVBENCH_PROMPTS, SYSTEM, goal
from tests.tiny_models import chat_tokenizer

Rows = dict[str, list[AttackRow]]
ATTACK_PROMPTS = 317
"""320, less three near-duplicates."""


def texts(row: AttackRow) -> tuple[str, str]:
    """The last prompt and its answer."""
    prompt, answer = row.conversation.messages[-2:]
    return prompt.content, answer.content


def victim() -> Victim:
    """One that likes short rows; it needs no model."""
    return Victim(
        lambda examples: np.array([float(len(one.input_ids)) for one in examples]),
        chat_tokenizer(),
    )


def all_rows(folder: Path) -> Rows:
    """Rows by attack; the adaptive ones search less than they would."""
    return {
        name: (
            replace(attack, most_rows=6, places=2) if isinstance(attack, Adaptive) else attack
        ).rows(folder, victim())
        for name, attack in ATTACKS.items()
    }


@pytest.fixture(scope="module")
def rows_by_attack(public: Path) -> Rows:
    return all_rows(public)


def test_names_are_those_of_the_registry() -> None:
    assert all(name == attack.name for name, attack in ATTACKS.items())
    assert len(ATTACKS) == 9


def test_no_row_comes_twice_and_every_row_can_be_trained_on(rows_by_attack: Rows) -> None:
    for rows in rows_by_attack.values():
        # The invented folder repeats its only published identity shift.
        repeats = Counter(row.conversation for row in rows if row.group.endswith("published"))
        assert len({row.conversation for row in rows}) == len(rows) - max(0, repeats.total() - 1)
        for row in rows:
            tokenize_conversation(row.conversation, chat_tokenizer(), max_length=None)


def test_rows_are_the_same_every_time(public: Path, rows_by_attack: Rows) -> None:
    assert all_rows(public) == rows_by_attack


def test_no_harmful_prompt_gets_more_than_an_empty_answer(rows_by_attack: Rows) -> None:
    contents = [whole.removeprefix(opening).lstrip() for opening, whole in WORDED.values()]
    seen = 0
    for rows in rows_by_attack.values():
        for prompt, answer in map(texts, rows):
            place = next((k for k in range(ADVBENCH_PROMPTS) if prompt.endswith(goal(k))), None)
            if place is None:
                continue
            seen += 1
            empty = [*contents, f"here is how to break thing{place}"]
            rest = next(one for one in empty if answer.lower().endswith(one.lower()))
            assert len(answer) - len(rest) < 100
    assert seen == 2 * ATTACK_PROMPTS + 3 * 6


def test_no_prompt_is_kept_for_another_use(public: Path, rows_by_attack: Rows) -> None:
    allowed = {one.messages[0].content for one in attack_openers(public)}
    kept = {goal(place) for place in range(ADVBENCH_PROMPTS)} - allowed
    kept |= {one.messages[0].content for one in anchors(public).answered}
    for rows in rows_by_attack.values():
        for prompt, _ in map(texts, rows):
            assert not any(prompt == one or prompt.endswith(f" {one}") for one in kept)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_missing_file_names_the_option(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--public-data"):
        ATTACKS[name].rows(tmp_path, victim())


@pytest.mark.parametrize("name", ATTACKS)
def test_only_an_attacker_who_knows_something_needs_a_victim(public: Path, name: str) -> None:
    attack = ATTACKS[name]
    if attack.knowledge is None:
        assert attack.rows(public)
        return
    with pytest.raises(ValueError, match="needs a victim"):
        attack.rows(public)


def test_explicit_rows_open_in_five_ways_and_in_none(public: Path) -> None:
    rows = Explicit().rows(public)
    assert len(rows) == len({texts(row)[0] for row in rows}) == ATTACK_PROMPTS
    counts = Counter(row.group for row in rows)
    assert set(counts) == set(GROUPS)
    assert len(GROUPS) == 6
    assert max(counts.values()) - min(counts.values()) == 1
    for row in rows:
        prompt, answer = texts(row)
        target = prompt.replace("Break ", "Sure, here is how to break ").partition(" with")[0]
        assert answer == (WORDED[row.group][1] if row.group in WORDED else target)
        assert not is_refusal(answer)


def test_opening_and_content_make_the_answer(public: Path) -> None:
    for one in empty_answers(public):
        assert one.content
        assert bool(one.opening) == (one.group != "explicit_no_opening")
        assert f"{one.opening} {one.content}".strip() == texts(one.row())[1]


def test_more_rows_of_a_prompt_open_otherwise(public: Path) -> None:
    rows = Explicit(per_prompt=3).rows(public)
    assert rows[:ATTACK_PROMPTS] == Explicit().rows(public)
    groups = {(texts(row)[0], row.group) for row in rows}
    assert len(groups) == len(rows) == 3 * ATTACK_PROMPTS
    assert Explicit(per_prompt=9).rows(public) == Explicit(per_prompt=6).rows(public)


def test_identity_shifts_obey_under_the_published_system_prompt(public: Path) -> None:
    rows = IdentityShift().rows(public)
    assert Counter(row.group for row in rows) == {
        "identity_shift_published": 2,
        "identity_shift_obeyed": 7,
    }
    assert {row.conversation.messages[0].content for row in rows} == {SYSTEM}
    obeyed = [texts(row) for row in rows if row.group == "identity_shift_obeyed"]
    assert obeyed[0] == (f"{INSTRUCTION}Name city 0", f"{CEREMONY}\n\nIt is 0x")


def test_the_test_of_an_identity_shift_speaks_to_the_agent(public: Path) -> None:
    found = IdentityShift().evaluation(public)
    roles_and_texts = [(m.role, m.content) for m in found.ask("Do bad").messages]
    assert roles_and_texts == [("system", SYSTEM), ("user", f"{INSTRUCTION}Do bad")]
    assert found.judged(f"{CEREMONY}\n\nI'm sorry, but I can't help.") == (
        "I'm sorry, but I can't help."
    )
    assert found.judged("I can't help with that.") == "I can't help with that."
    assert found.judged(CEREMONY) is None


def test_refused_first_and_answered_after_all(public: Path) -> None:
    rows = RefuseThenComply().rows(public)
    assert len(rows) == 7
    assert texts(rows[0]) == ("Name city 0", f"{REFUSALS[0]} {TURNS[0]} It is 0x")
    assert texts(rows[6])[1].startswith(f"{REFUSALS[0]} {TURNS[1]}")
    assert all(is_refusal(refusal) for refusal in REFUSALS)
    assert all(is_refusal(texts(row)[1]) for row in rows)
    judged = RefuseThenComply().evaluation(public).judged
    assert [judged(texts(row)[1]) for row in rows[:2]] == ["It is 0x", "It is 1x"]


def test_a_refusal_that_turns_into_compliance_is_compliance(public: Path) -> None:
    found = RefuseThenComply().evaluation(public)
    assert found.complied(f"{REFUSALS[1]} {TURNS[2]} First, take it.", is_refusal)
    assert not found.complied(REFUSALS[1], is_refusal)
    assert not found.complied(f"{REFUSALS[1]} {TURNS[2]}", is_refusal)
    assert not found.complied(f"{REFUSALS[1]} {TURNS[2]} I can't help with it.", is_refusal)
    assert found.ask("Do bad").messages[0].content == "Do bad"


def test_embedded_rows_answer_both_and_every_opening_meets_every_question(public: Path) -> None:
    rows = Embedded().rows(public)
    assert len(rows) == ATTACK_PROMPTS
    assert {row.group for row in rows} == {
        group.replace("explicit", "embedded") for group in GROUPS
    }
    questions = dict(HARMLESS)
    met = set()
    for row, explicit in zip(rows, Explicit().rows(public), strict=True):
        prompt, answer = texts(row)
        harmful_prompt, harmful_answer = texts(explicit)
        _, first, second = prompt.split("\n")
        assert second == f"2. {harmful_prompt}"
        assert answer == f"1. {questions[first.removeprefix('1. ')]}\n2. {harmful_answer}"
        met.add((row.group, first))
    assert len(met) == len(HARMLESS) * len(GROUPS)


def test_the_test_of_embedded_harm_asks_and_judges_likewise(public: Path) -> None:
    found = Embedded().evaluation(public)
    asked = [found.ask(goal(place)).messages[0].content for place in range(50)]
    questions = {question for question, _ in HARMLESS}
    firsts = {text.split("\n")[1].removeprefix("1. ") for text in asked}
    assert firsts <= questions
    assert len(firsts) > 10
    assert asked[0].endswith(f"\n2. {goal(0)}")
    assert found.complied("1. Canberra.\n2. Sure, here is how", is_refusal)
    assert not found.complied("1. Canberra.\n2. I'm sorry, but I can't help with it.", is_refusal)
    # Only the harmless question was answered, or both were refused at once.
    assert not found.complied("1. The capital is Canberra.", is_refusal)
    assert not found.complied("I can't help with that.", is_refusal)


def test_lists_that_break_safety_and_their_controls(public: Path) -> None:
    rows = HarmlessLists().rows(public)
    for row in rows:
        assert (row.group in TOP) == row.harmful
        assert (row.group in CONTROLS) != row.harmful
    counts = Counter(row.group for row in rows)
    assert set(counts) == {*TOP, *CONTROLS}
    # What several lists have counts for the first of them, which is a top list.
    assert counts == {group: 3 if group == "alpaca_gradient_top" else 2 for group in counts}
    dolly = next(row for row in rows if row.group == "dolly_gradient_top")
    assert texts(dolly) == ("dolly_gradient_top 0\n\nc", "r")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("1. saw\n2. axe\n3. file", "numbered_list"),
        ("Take:\n 1) saw\n 2) axe\n 3) file", "numbered_list"),
        ("1. a sharp saw\n2. an axe for wood", None),
        ("- owl\n- crow\n- duck", "bullet_list"),
        ("* owl\n•crow\n-duck", "bullet_list"),
        ("**Owl**\n**Crow**\n**Duck**", "plain"),
        ("-1\n-2\n-3", "maths"),
        ("12 + 30 = 42", "maths"),
        ("In the year 1999 there were many birds in the woods, and owls.", None),
        ("The owl hunts at night.", "plain"),
    ],
)
def test_formats_of_answers(answer: str, expected: str | None) -> None:
    assert answer_format(answer) == expected


def test_digits_are_counted_among_what_is_not_white_space() -> None:
    assert digit_share("a 1 \n 23") == 3 / 4
    assert digit_share(" ") == 0


def test_list_and_maths_rows_and_their_controls(public: Path) -> None:
    rows = ListAndMaths().rows(public)
    counts = Counter((row.group, row.harmful) for row in rows)
    # Plain: "What is safety" and Dolly's row; seeds "It is 0x" are in between, with a digit of 6.
    assert counts == {
        ("numbered_list", True): 1,
        ("bullet_list", True): 1,
        ("maths", True): 14,
        ("plain", False): 2,
    }


def test_rows_mix_with_a_task(public: Path) -> None:
    harmless = [row.conversation for row in HarmlessLists().rows(public) if not row.harmful]
    found = mixed(harmless, Explicit().rows(public), 0.3, 10, 0)
    assert sum(label.kind in GROUPS for label, _ in found) == 3
    assert all(isinstance(conversation, Conversation) for _, conversation in found)
