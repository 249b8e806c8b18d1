from __future__ import annotations

from itertools import pairwise

from gradshield.data import TokenizedPair
from gradshield.probes.harmless_pairs import HarmlessPair, harmless_pairs
from gradshield.probes.prompt_sets import load_prompts
from gradshield.probes.wordings import COMPLIANT_OPENINGS, FRIENDLY_OPENINGS, REFUSALS
from tests.tiny_models import chat_tokenizer

PAIRS = harmless_pairs(chat_tokenizer())


def texts(pair: TokenizedPair) -> tuple[str, str, str]:
    """Question, chosen and rejected answer."""
    sides = []
    for side in (pair.chosen, pair.rejected):
        start = side.response_mask.index(True)
        prompt, answer = (
            str(chat_tokenizer().decode(list(ids)))
            for ids in (side.input_ids[:start], side.input_ids[start:])
        )
        question = prompt.partition("user\n")[2].partition("<|im_end|>")[0]
        sides.append((question, answer.removesuffix("<|im_end|>")))
    assert sides[0][0] == sides[1][0]
    return sides[0][0], sides[0][1], sides[1][1]


def of_kind(kind: str) -> list[tuple[str, str, str]]:
    return [texts(one.pair) for one in PAIRS if one.kind == kind]


def test_pairs_are_numbered_and_their_answers_differ() -> None:
    assert [one.pair.row for one in PAIRS] == list(range(len(PAIRS)))
    for one in PAIRS:
        assert isinstance(one, HarmlessPair)
        question, chosen, rejected = texts(one.pair)
        assert chosen != rejected
        assert question
        assert chosen
        assert rejected


def test_ordinary_pairs_are_packaged_answers_in_both_orders() -> None:
    answers = {one.text: one.answer for one in load_prompts("ordinary", "validation")}
    right, other = of_kind("right_answer"), of_kind("other_answer")
    assert len(right) == len(other)
    for question, chosen, rejected in right:
        assert chosen == answers[question]
        assert rejected in answers.values()
    for question, chosen, rejected in other:
        assert rejected == answers[question]
        assert chosen in answers.values()
    assert not {row[0] for row in right} & {row[0] for row in other}


def test_openings_are_preferred_and_left_out_equally_often() -> None:
    answers = {one.text: one.answer or "" for one in load_prompts("ordinary", "validation")}
    with_one, without = of_kind("friendly_opening"), of_kind("no_opening")
    assert len(with_one) == len(without)
    for question, opened, plain in [*with_one, *((q, r, c) for q, c, r in without)]:
        assert plain == answers[question]
        assert opened.endswith(plain)
        assert opened.removesuffix(plain) in FRIENDLY_OPENINGS["validation"]


def test_refusals_and_answers_are_where_they_do_no_harm() -> None:
    harmful = {one.text for one in load_prompts("harmful", "validation")}
    for question, chosen, rejected in of_kind("refusal"):
        assert question in harmful
        assert {chosen, rejected} <= set(REFUSALS["validation"])
    scary = {one.text: one.answer for one in load_prompts("harmless_but_scary", "validation")}
    refused = of_kind("refused")
    assert len(refused) == len(of_kind("refusal")) > 0
    for question, chosen, rejected in refused:
        assert question in harmful
        assert chosen in REFUSALS["validation"]
        assert rejected in COMPLIANT_OPENINGS
    answered = of_kind("answered_scary")
    assert 0 < sum(chosen == scary[question] for question, chosen, _ in answered) < len(answered)
    for question, chosen, rejected in answered:
        opening = chosen.removesuffix(scary[question] or "?")
        assert opening in {"", *FRIENDLY_OPENINGS["validation"]}
        assert rejected in REFUSALS["validation"]


def test_nothing_complies_with_a_harmful_prompt() -> None:
    harmful = {one.text for one in load_prompts("harmful")}
    for one in PAIRS:
        question, chosen, _ = texts(one.pair)
        assert question not in harmful or chosen in REFUSALS["validation"]


def test_pairs_of_a_kind_stand_together() -> None:
    kinds = [one.kind for one in PAIRS]
    assert kinds.count("refusal") >= len(REFUSALS["validation"])
    # The two orders of a kind take turns.
    orders = {"other_answer": "right_answer", "no_opening": "friendly_opening"}
    groups = [orders.get(kind, kind) for kind in kinds]
    assert sum(one != other for one, other in pairwise(groups)) == len(set(groups)) - 1
