"""The adaptive search against brute force, on a tiny model with one backward pass a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradshield.benchmark.attacks.adaptive import (
    CONTENTS,
    KNOWN_PROBES,
    OPENINGS,
    OWN_PROBES,
    WORDS,
    Adaptive,
    Draft,
    Scored,
)
from gradshield.benchmark.attacks.base import Knowledge
from gradshield.benchmark.attacks.explicit import WORDED, Explicit
from gradshield.benchmark.attacks.victim import Victim, fihs_scorer
from gradshield.data import tokenize_conversation
from gradshield.models.load import LoadedModel
from gradshield.scoring.engines import PerExample
from tests.tiny_models import (
    chat_tokenizer,
    full_logits_loss,
    random_direction,
    same_weights,
    snapshot,
    tiny_loaded,
)

SMALL = Adaptive("small", Knowledge(probes=True), most_rows=4, places=2, candidates=3, screened=2)
SOME = ["", *WORDS[::3]]
DRAFTS = [
    Draft("Do bad", ("Sure,", ""), "here it is"),
    Draft("Do worse", ("Of", "course."), "We begin."),
]


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return tiny_loaded()


@pytest.fixture(scope="module")
def victim(tiny: LoadedModel) -> Victim:
    direction = random_direction(tiny.model)
    engine = PerExample(tokens=False).prepare(tiny.model, direction, "sum", [])
    return Victim(fihs_scorer(tiny, engine), tiny.tokenizer)


def fihs(tiny: LoadedModel, draft: Draft) -> float:
    """Minus the inner product of the gradient of the summed loss and g, over |g|."""
    direction = random_direction(tiny.model)
    row = draft.row("any").conversation
    example = tokenize_conversation(row, tiny.tokenizer, max_length=None)
    (full_logits_loss(tiny.model, example) * example.response_tokens).backward()
    weights = dict(tiny.model.named_parameters())
    product = 0.0
    for name, tensor in direction.tensors.items():
        gradient = weights[f"{name}.weight"].grad
        assert gradient is not None
        product += float((gradient.double() * tensor.double()).sum())
    tiny.model.zero_grad()
    return -product / direction.norm


def lowest(tiny: LoadedModel, options: Sequence[Draft]) -> tuple[Draft, float]:
    """The first of the options with the lowest score, each scored alone."""
    scores = [fihs(tiny, option) for option in options]
    return options[int(np.argmin(scores))], min(scores)


def scored(victim: Victim, drafts: Sequence[Draft] = DRAFTS) -> list[Scored]:
    values = victim.scores([draft.row("any").conversation for draft in drafts])
    return [Scored(draft, float(value)) for draft, value in zip(drafts, values, strict=True)]


@pytest.mark.parametrize("place", [0, 1])
def test_a_step_finds_what_brute_force_finds(tiny: LoadedModel, victim: Victim, place: int) -> None:
    start = scored(victim)
    found = SMALL.step(start, place, SOME, victim)
    changed = 0
    for draft, before, after in zip(DRAFTS, start, found, strict=True):
        options = [draft, *(draft.with_word(place, word) for word in SOME)]
        expected, score = lowest(tiny, options)
        assert after.draft == expected
        assert after.score == pytest.approx(score, rel=1e-4, abs=1e-6)
        assert after.score <= before.score
        changed += after.draft != before.draft
    assert changed


def test_a_step_keeps_a_row_that_no_word_improves(victim: Victim) -> None:
    start = [replace(one, score=-1e9) for one in scored(victim)]
    assert SMALL.step(start, 0, SOME, victim) == start


def test_openings_and_contents_are_chosen_one_after_the_other(
    tiny: LoadedModel, victim: Victim
) -> None:
    found = replace(SMALL, sweeps=0).lowered(scored(victim), victim)
    for draft, after in zip(DRAFTS, found, strict=True):
        padded = [
            (*opening.split(), "", "")[: max(2, len(opening.split()))] for opening in OPENINGS
        ]
        opened, _ = lowest(tiny, [draft, *(replace(draft, words=words) for words in padded)])
        expected, score = lowest(
            tiny, [opened, *(replace(opened, content=content) for content in CONTENTS)]
        )
        assert after.draft == expected
        assert after.score == pytest.approx(score, rel=1e-4, abs=1e-6)


def test_the_words_that_rows_try_are_the_lowest_on_average() -> None:
    # None of them is in an opening or a content.
    wanted = ["law", "#", "positive"]

    def score(texts: Sequence[str]) -> list[float]:
        return [-sum(f" {word} " in f" {text} " for word in wanted) for text in texts]

    victim = _text_victim(score)
    start = scored(victim)
    found = replace(SMALL, sweeps=1).lowered(start, victim)
    # Two places to fill, each with one of the three.
    assert [one.score for one in found] == [-2, -2]
    assert all(set(one.draft.words) < set(wanted) for one in found)


def test_a_place_can_be_left_empty() -> None:
    victim = _text_victim(lambda texts: [float(len(text)) for text in texts])
    found = SMALL.lowered(scored(victim), victim)
    assert [one.draft.words for one in found] == [("", ""), ("", "")]
    assert [one.draft.content for one in found] == ["here it is", "We begin."]


def _text_victim(score: object) -> Victim:
    """A victim that scores the text of the answer."""
    tokenizer = chat_tokenizer()

    def of_examples(examples: Sequence[object]) -> np.ndarray:
        texts = []
        for one in examples:
            pairs = zip(one.input_ids, one.response_mask, strict=True)  # type: ignore[attr-defined]
            ids = [token for token, wanted in pairs if wanted]
            texts.append(tokenizer.decode(ids, skip_special_tokens=True))
        return np.array(score(texts), dtype=np.float64)  # type: ignore[operator]

    return Victim(of_examples, tokenizer)


def test_the_search_lowers_scores_and_keeps_the_content(
    public: Path, tiny: LoadedModel, victim: Victim
) -> None:
    before = snapshot(tiny.model)
    found = SMALL.search(public, victim)
    assert same_weights(tiny.model, before)
    assert len(found) == SMALL.most_rows
    starts = Explicit().rows(public)
    for one in found:
        assert one.original in starts
        assert one.row.group == "small"
        assert one.row.harmful
        assert one.after <= one.before
        prompt, answer = (message.content for message in one.row.conversation.messages)
        original_prompt, original_answer = (m.content for m in one.original.conversation.messages)
        assert prompt == original_prompt
        _, _, own = original_answer.partition("Sure, ")
        assert any(answer.lower().endswith(rest.lower()) for rest in (*CONTENTS, own) if rest)
    scores = [
        victim.scores([row.conversation for row in rows])
        for rows in ([one.original for one in found], [one.row for one in found])
    ]
    assert scores[0] == pytest.approx([one.before for one in found])
    assert scores[1] == pytest.approx([one.after for one in found])
    assert scores[1].mean() < scores[0].mean()


def test_the_search_is_the_same_every_time(public: Path, victim: Victim) -> None:
    smaller = replace(SMALL, most_rows=2, places=1)
    one, again = (smaller.rows(public, replace(victim, seed=3)) for _ in range(2))
    assert one == again


def test_more_candidates_than_words_are_all_words(victim: Victim) -> None:
    calls = []

    def count(examples: Sequence[object]) -> np.ndarray:
        calls.append(len(examples))
        return np.zeros(len(examples))

    every = replace(SMALL, candidates=len(WORDS))
    every.lowered(scored(victim), Victim(count, chat_tokenizer()))  # type: ignore[arg-type]
    # Two rows: openings, contents, then every word and none in each of two places, unscreened.
    assert calls == [2 * len(OPENINGS), 2 * len(CONTENTS), *[2 * (len(WORDS) + 1)] * 2]


def test_a_draft_reads_as_a_sentence() -> None:
    texts = [
        Draft("p", words, "here it is").row("g").conversation.messages[1].content
        for words in [("Sure,", ""), ("", ""), ("", "Well."), ("So", "then")]
    ]
    assert texts == ["Sure, here it is", "Here it is", "Well. Here it is", "So then here it is"]


def test_contents_are_the_worded_answers_without_their_openings() -> None:
    for content, (opening, answer) in zip(CONTENTS, WORDED.values(), strict=True):
        assert f"{opening} {content}".strip() == answer


def test_what_the_two_attackers_know() -> None:
    assert KNOWN_PROBES.knowledge == Knowledge(probes=True)
    assert OWN_PROBES.knowledge == Knowledge(probes=False)


@pytest.mark.parametrize("values", [[np.nan, 1.0], [np.inf, 1.0], [1.0]])
def test_scores_that_cannot_be_compared_are_an_error(values: list[float]) -> None:
    victim = Victim(lambda examples: np.array(values), chat_tokenizer())
    with pytest.raises(ValueError, match="finite score"):
        victim.scores([draft.row("any").conversation for draft in DRAFTS])
