from __future__ import annotations

from itertools import pairwise

import pytest

from gradshield.data.tokenization import TokenizedExample
from gradshield.evaluation.refusal import is_refusal
from gradshield.probes.harmless_rows import (
    STARTED_ROWS,
    WORDED_ROWS,
    harmless_rows,
    opening_rows,
)
from gradshield.probes.prompt_sets import load_prompts
from gradshield.probes.wordings import (
    COMPLIANT_OPENINGS,
    FRIENDLY_OPENINGS,
    REFUSALS,
    SHORT_REFUSALS,
    RowSplit,
)
from tests.tiny_models import chat_tokenizer

SPLITS: tuple[RowSplit, ...] = ("probe", "validation")


def response(example: TokenizedExample) -> str:
    ids = [t for t, kept in zip(example.input_ids, example.response_mask, strict=True) if kept]
    return str(chat_tokenizer().decode(ids))


def prompt(example: TokenizedExample) -> str:
    ids = [t for t, kept in zip(example.input_ids, example.response_mask, strict=True) if not kept]
    return str(chat_tokenizer().decode(ids))


@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_packaged_prompts_of_the_split_with_harmless_answers(split: RowSplit) -> None:
    rows = harmless_rows(chat_tokenizer(), split)
    assert [row.example.row for row in rows] == list(range(len(rows)))
    texts = {name: load_prompts(name, split) for name in ("ordinary", "harmful")}
    scary = {one.text: one.answer for one in load_prompts("harmless_but_scary", split)}
    answers = {one.text: one.answer or "" for one in texts["ordinary"]}
    for row in rows:
        asked = next(
            text
            for text in [*answers, *scary, *(one.text for one in texts["harmful"])]
            if f"user\n{text}<|im_end|>" in prompt(row.example)
        )
        given = response(row.example)
        assert given.endswith("<|im_end|>")
        given = given.removesuffix("<|im_end|>")
        if row.kind == "refusal":
            assert asked in {one.text for one in texts["harmful"]}
            assert given in REFUSALS[split]
        elif row.kind == "harmless_but_scary":
            assert given == scary[asked]
        elif row.kind == "friendly_opening":
            assert given.endswith(answers[asked])
            assert given.removesuffix(answers[asked]) in FRIENDLY_OPENINGS[split]
        else:
            assert given == answers[asked]


@pytest.mark.parametrize("split", SPLITS)
def test_rows_of_a_kind_stand_together_and_every_kind_is_there(split: RowSplit) -> None:
    kinds = [row.kind for row in harmless_rows(chat_tokenizer(), split)]
    changes = sum(one != other for one, other in pairwise(kinds))
    assert changes == len(set(kinds)) - 1
    categories = {prompt.category for prompt in load_prompts("ordinary", split)}
    assert set(kinds) == categories | {"friendly_opening", "harmless_but_scary", "refusal"}
    assert kinds.count("friendly_opening") == kinds.count("refusal") == WORDED_ROWS[split]


@pytest.mark.parametrize("split", SPLITS)
def test_every_wording_is_met_equally_often_and_side_by_side(split: RowSplit) -> None:
    given = [
        response(row.example).removesuffix("<|im_end|>")
        for row in harmless_rows(chat_tokenizer(), split)
        if row.kind == "refusal"
    ]
    each = WORDED_ROWS[split] // len(REFUSALS[split])
    assert given == [refusal for refusal in REFUSALS[split] for _ in range(each)]


def test_no_ordinary_answer_refuses() -> None:
    for split in SPLITS:
        answers = [prompt.answer or "" for prompt in load_prompts("ordinary", split)]
        assert all(answers)
        assert [answer for answer in answers if is_refusal(answer)] == []


def test_openings_take_turns_and_have_no_end() -> None:
    rows = [(prompt(example), response(example)) for example in opening_rows(chat_tokenizer())]
    assert len(rows) == 3 * STARTED_ROWS
    complied, refused, refused_harmful = (
        rows[start : start + STARTED_ROWS] for start in range(0, len(rows), STARTED_ROWS)
    )
    each = STARTED_ROWS // len(COMPLIANT_OPENINGS)
    assert [given for _, given in complied] == [
        opening for opening in COMPLIANT_OPENINGS for _ in range(each)
    ]
    for part in (refused, refused_harmful):
        assert {given for _, given in part} == set(SHORT_REFUSALS)
    assert sorted(asked for asked, _ in complied) == sorted(asked for asked, _ in refused)
    harmful = [one.text for one in load_prompts("harmful", "probe")]
    assert all(any(f"user\n{text}<" in asked for text in harmful) for asked, _ in refused_harmful)
