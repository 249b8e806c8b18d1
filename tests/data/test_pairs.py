"""Both answers after the same tokens, cut alike, and rows of one kind in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from gradshield.data import (
    Conversation,
    LoadedData,
    Message,
    Preference,
    Rejection,
    TokenizedExample,
    TokenizedPair,
    load_examples,
    tokenize_conversation,
    tokenize_preference,
    tokenize_rows,
)
from gradshield.data.pairs import truncated_alike
from tests import tiny_tokenizers as tiny
from tests.tiny_models import chat_tokenizer

TOKENIZER = chat_tokenizer()


def preference(prompt: str, chosen: str, rejected: str) -> Preference:
    asked = Message("user", prompt)
    return Preference(
        *(Conversation((asked, Message("assistant", one))) for one in (chosen, rejected))
    )


def pair_of(
    chosen: str,
    rejected: str,
    *,
    prompt: str = "Name a river.",
    tokenizer: PreTrainedTokenizerBase = TOKENIZER,
    max_length: int | None = None,
) -> TokenizedPair:
    return tokenize_preference(
        preference(prompt, chosen, rejected), tokenizer, row=3, max_length=max_length
    )


def parts(side: TokenizedExample) -> tuple[list[int], list[int], list[int]]:
    """Tokens before the first response token, the response tokens, and all from the first on."""
    start = side.response_mask.index(True)
    masked = [
        t for t, is_response in zip(side.input_ids, side.response_mask, strict=True) if is_response
    ]
    return list(side.input_ids[:start]), masked, list(side.input_ids[start:])


def test_only_the_answers_carry_loss() -> None:
    pair = pair_of("The Loire.", "No.")
    (prompt, chosen, _), (other, rejected, _) = parts(pair.chosen), parts(pair.rejected)
    assert prompt == other
    assert TOKENIZER.decode(prompt).endswith("Name a river.<|im_end|>\n<|im_start|>assistant\n")
    assert TOKENIZER.decode(chosen) == "The Loire.<|im_end|>"
    assert TOKENIZER.decode(rejected) == "No.<|im_end|>"
    assert (pair.row, pair.truncated) == (3, False)
    assert pair.response_tokens == len(chosen) + len(rejected)


def splits_white_space() -> PreTrainedTokenizerFast:
    """Leaves the last of several line feeds to the word after them, as that of GPT-2 does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["a\n\n\n\n"] * 20, trainer)
    template = (
        "{% for m in messages %}{{ m.content }}{% if m.role == 'user' %}{{ '\n\n' }}{% endif %}"
        "{% endfor %}"
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template)


def test_a_prompt_cut_into_other_tokens_by_one_answer_is_one_prompt() -> None:
    tokenizer = splits_white_space()
    alone = [
        tokenize_conversation(side, tokenizer, max_length=None)
        for side in vars(preference("Hi", "Yes.", "\nNo.")).values()
    ]
    assert parts(alone[0])[0] != parts(alone[1])[0]
    pair = pair_of("Yes.", "\nNo.", prompt="Hi", tokenizer=tokenizer)
    assert parts(pair.rejected)[0] == parts(pair.chosen)[0] == parts(alone[0])[0]
    assert tokenizer.decode(pair.rejected.input_ids) == "Hi\n\n\nNo."
    assert tokenizer.decode(parts(pair.rejected)[1]) == "\nNo."


MARKS_REASONING = tiny.CHATML.replace(
    "{% for m in messages %}",
    "{% if '</think>' in messages[-1].content %}Think. {% endif %}{% for m in messages %}",
    1,
)


def test_a_template_that_prints_the_prompt_by_the_answer_is_refused() -> None:
    tokenizer = tiny.byte_level_tokenizer(
        MARKS_REASONING, extra_tokens=("<|im_start|>", "<|im_end|>")
    )
    thought = "<think>Hi</think>The Loire."
    assert pair_of(thought, "<think>No</think>No.", tokenizer=tokenizer)
    with pytest.raises(Rejection, match=r"template_not_understood: .* before 'chosen' than before"):
        pair_of(thought, "No.", tokenizer=tokenizer)


def test_a_fault_of_a_side_names_it() -> None:
    refuses = tiny.CHATML.replace(
        "{% for m in messages %}",
        "{% for m in messages %}{% if m.content == 'No.' %}{{ raise_exception('no') }}{% endif %}",
        1,
    )
    tokenizer = tiny.byte_level_tokenizer(refuses, extra_tokens=("<|im_start|>", "<|im_end|>"))
    with pytest.raises(Rejection, match="template_error: 'rejected': "):
        pair_of("The Loire.", "No.", tokenizer=tokenizer)


def test_the_same_answer_twice_is_no_preference() -> None:
    with pytest.raises(Rejection, match="identical_answers: 'chosen' and 'rejected' are the same,"):
        pair_of("The Loire.", "The Loire.")
    # T3 trims answers, so these are printed alike.
    trims = tiny.byte_level_tokenizer(tiny.T3_TRIMS)
    with pytest.raises(Rejection, match="identical_answers"):
        pair_of("Yes.", " Yes. ", tokenizer=trims)


def test_answers_that_differ_beyond_the_cut_only_are_no_preference() -> None:
    same = "No. " * 30
    assert pair_of(same + "Yes", same + "The Loire")
    with pytest.raises(Rejection, match="the same in the 40 tokens that are scored"):
        pair_of(same + "Yes", same + "The Loire", max_length=40)


def test_both_sides_are_cut_to_the_same_prompt() -> None:
    whole = pair_of("Yes. " * 40, "No.", prompt="Which one? " * 10)
    cut = pair_of("Yes. " * 40, "No.", prompt="Which one? " * 10, max_length=50)
    prompt, _, answer = parts(cut.chosen)
    assert (len(cut.chosen.input_ids), cut.truncated) == (50, True)
    assert parts(cut.rejected)[0] == prompt == parts(whole.chosen)[0][-len(prompt) :]
    assert answer == parts(whole.chosen)[2][: len(answer)]
    # The short answer fits as it is: only its prompt was cut.
    assert parts(cut.rejected)[1:] == parts(whole.rejected)[1:]
    assert cut.rejected.truncated


sides = st.lists(st.integers(2, 9), min_size=1, max_size=12)


@given(
    prompt=st.lists(st.integers(10, 19), min_size=1, max_size=12),
    chosen=sides,
    rejected=sides,
    max_length=st.integers(2, 20),
)
def test_cutting_keeps_one_prompt_and_the_beginnings_of_the_answers(
    prompt: list[int], chosen: list[int], rejected: list[int], max_length: int
) -> None:
    def side(answer: list[int]) -> TokenizedExample:
        mask = (False,) * len(prompt) + (True,) * len(answer)
        return TokenizedExample(0, (*prompt, *answer), mask, False)

    cut = truncated_alike(TokenizedPair(side(chosen), side(rejected)), max_length, None)
    kept, _, kept_chosen = parts(cut.chosen)
    other, _, kept_rejected = parts(cut.rejected)
    assert kept == other == prompt[len(prompt) - len(kept) :]
    assert kept_chosen == chosen[: len(kept_chosen)]
    assert kept_rejected == rejected[: len(kept_rejected)]
    assert max(len(cut.chosen.input_ids), len(cut.rejected.input_ids)) <= max_length
    # Neither answer is cut while there is room for more of it.
    room = max_length - len(kept)
    assert len(kept_chosen) == min(room, len(chosen))
    assert len(kept_rejected) == min(room, len(rejected))
    fits = len(prompt) + max(len(chosen), len(rejected)) <= max_length
    assert cut.truncated is not fits


PAIR = {"prompt": "Name a river.", "chosen": "The Loire.", "rejected": "No."}
PLAIN = {"prompt": "Name a river.", "completion": "The Loire."}


def load(folder: Path, *rows: dict[str, Any], **options: Any) -> LoadedData:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_examples(path, TOKENIZER, **options)


def reasons(data: LoadedData) -> dict[int, str]:
    return {row: rejection.reason for row, rejection in data.rejections.items()}


def test_a_file_of_preferences_is_found_out(tmp_path: Path) -> None:
    done: list[int] = []
    data = load(tmp_path, PAIR, {**PAIR, "chosen": None}, PAIR, progress=done.append)
    assert ([pair.row for pair in data.pairs], data.examples) == ([0, 2], [])
    assert reasons(data) == {1: "missing_side"}
    assert data.scorable is data.pairs
    assert data.notes == ()
    assert data.format_statement == "format: preference (3 rows, first line 1)"
    assert done == [1, 2, 3]


@pytest.mark.parametrize(
    ("rows", "kept", "rejected"),
    [
        ([PAIR, PLAIN, PAIR], [0, 2], {1: "plain_row"}),
        ([PLAIN, PAIR, PLAIN], [0, 2], {1: "preference_row"}),
        # Plain rows of two formats are of one kind, and a tie goes to plain rows.
        ([PAIR, PLAIN, {"instruction": "Hi", "output": "Hello"}], [1, 2], {0: "preference_row"}),
        ([PAIR, PLAIN], [1], {0: "preference_row"}),
    ],
)
def test_the_rarer_kind_is_rejected(
    tmp_path: Path, rows: list[dict[str, Any]], kept: list[int], rejected: dict[int, str]
) -> None:
    data = load(tmp_path, *rows)
    assert [row.row for row in data.scorable] == kept
    assert reasons(data) == rejected
    assert len(data.notes) == 1
    assert data.notes[0].startswith("The file mixes ")
    assert "each row is read by its own format" not in data.format_statement


def test_a_format_that_is_asked_for_decides_the_kind(tmp_path: Path) -> None:
    both = {**PAIR, "completion": "Yes."}
    assert load(tmp_path, both, both).pairs
    data = load(tmp_path, both, both, format="prompt_completion")
    assert [example.row for example in data.examples] == [0, 1]
    data = load(tmp_path, PLAIN, PLAIN, PAIR, format="preference")
    assert [pair.row for pair in data.pairs] == [2]
    assert reasons(data) == {0: "plain_row", 1: "plain_row"}


def test_rows_cut_on_either_side_are_counted(tmp_path: Path) -> None:
    data = load(tmp_path, PAIR, {**PAIR, "rejected": "No. " * 40}, max_length=60)
    assert data.truncated == 1


def test_who_wants_plain_rows_is_told_of_preferences(tmp_path: Path) -> None:
    data = load(tmp_path, PAIR)
    examples, rejections, _ = tokenize_rows(data.rows, TOKENIZER)
    assert not examples
    assert rejections[0].reason == "preference_row"
