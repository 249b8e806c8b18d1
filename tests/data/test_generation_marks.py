"""What a template marks as generated goes before what is found out from outside."""

from __future__ import annotations

from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from gradshield.data import ChatTemplate, Rejection, tokenize_conversation
from gradshield.data.generation_marks import choose_marked, has_generation_marks
from gradshield.data.template import RenderedConversation
from tests import tiny_tokenizers as tiny
from tests.data.masks import response_texts, talk


def marked(inside: str, before: str = "", after: str = "<|end|>") -> str:
    return (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
        + before
        + "{% generation %}"
        + inside
        + "{% endgeneration %}"
        + after
        + "{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}"
    )


WITH_END = marked("{{ m.content }}<|end|>", after="")
WITHOUT_END = marked("{{ m.content }}")
EMPTY = marked("", before="{{ m.content }}")
ELSEWHERE = EMPTY.replace("<|{{ m.role }}|>", "{% generation %}<|{{ m.role }}|>{% endgeneration %}")
TWO_MARKS = marked(
    "{{ m.content[:1] }}", after="{% generation %}{{ m.content[1:] }}{% endgeneration %}<|end|>"
)
REWRITES = marked("{{ m.content | upper }}")
TWO = talk("a", "Yes.", "b", "No. ")
MISSED = "answers that the template's own generation marks miss"


def render(template: str, turns: list[int] | None = None) -> RenderedConversation:
    template_ = ChatTemplate(tiny.byte_level_tokenizer(template))
    return template_.render(TWO, turns or TWO.response_turns)


def texts(rendered: RenderedConversation) -> list[str]:
    return [rendered.text[start:end] for start, end in rendered.responses]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (WITH_END, ["Yes.<|end|>", "No. <|end|>"]),
        (WITHOUT_END, ["Yes.", "No. "]),  # the template's choice: no loss on the end of turn
        (
            WITH_END.replace("{% generation %}", "{%- generation -%}"),
            ["Yes.<|end|>", "No. <|end|>"],
        ),
        (TWO_MARKS, ["Y", "es.", "N", "o. "]),
        (REWRITES, ["YES.", "NO. "]),  # only the marks tell
    ],
)
def test_the_marks_are_believed(template: str, expected: list[str]) -> None:
    rendered = render(template)
    assert texts(rendered) == expected
    assert rendered.left_out == ()


def test_of_chosen_turns_only() -> None:
    assert texts(render(WITHOUT_END, [3])) == ["No. "]
    assert texts(render(REWRITES, [1])) == ["YES."]


@pytest.mark.parametrize("template", [EMPTY, ELSEWHERE])
def test_marks_that_miss_the_answers_are_not_used_and_that_is_said(template: str) -> None:
    rendered = render(template)
    assert texts(rendered) == ["Yes.<|end|>", "No. <|end|>"]
    assert [what.startswith(MISSED) for what in rendered.left_out] == [True]


def test_without_landmarks_and_with_too_few_marks_the_row_is_rejected() -> None:
    once = REWRITES.replace("m.role == 'assistant'", "m.role == 'assistant' and loop.last")
    once = once.replace("{% else %}{{ m.content", "{% else %}{{ m.content | upper")
    with pytest.raises(Rejection, match="cannot be told from the prompt"):
        render(once)


def test_marks_in_a_comment_or_none_are_told_apart() -> None:
    assert has_generation_marks(WITH_END)
    assert has_generation_marks("{%- generation %}")
    assert not has_generation_marks(tiny.T1_PLAIN)
    assert not has_generation_marks("{{ generation }}")


def test_choosing_by_hand() -> None:
    text = "x" * 40
    assert choose_marked([(3, 5), (13, 15)], [(2, 6), (12, 16)], [1, 3], TWO, text) == [
        (3, 5),
        (13, 15),
    ]
    assert choose_marked([(3, 5), (13, 15)], [(12, 16)], [3], TWO, text) == [(13, 15)]
    assert choose_marked([(3, 5)], [(2, 6), (12, 16)], [1, 3], TWO, text) is None
    assert choose_marked([(6, 12)], [(2, 6), (12, 16)], [1, 3], TWO, text) is None
    assert choose_marked([(3, 5), (13, 15)], [], [3], TWO, text) == [(13, 15)]
    assert choose_marked([(3, 5)], [], [3], TWO, text) is None


def library_mask(tokenizer: Any, contents: list[str]) -> tuple[list[int], list[int]]:
    """Ids and mask by the library's own way, which needs a fast tokenizer."""
    roles = ["user", "assistant"] * len(contents)
    turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    encoded = tokenizer.apply_chat_template(
        turns, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return list(encoded["input_ids"]), list(encoded["assistant_masks"])


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.24"),
    reason="the mask of earlier versions loses what follows a token that lies across a boundary",
)
@pytest.mark.parametrize("template", [WITH_END, WITHOUT_END, TWO_MARKS])
@given(
    contents=st.lists(
        st.text(st.sampled_from("ab .42é\n")).filter(str.strip), min_size=2, max_size=6
    ).filter(lambda contents: len(contents) % 2 == 0)
)
def test_the_mask_is_that_of_the_library(template: str, contents: list[str]) -> None:
    tokenizer = TOKENIZERS[template]
    ids, mask = library_mask(tokenizer, contents)
    example = tokenize_conversation(talk(*contents), tokenizer, max_length=None)
    if list(example.input_ids) == ids:  # not cut at a boundary that lies within a token
        assert list(map(int, example.response_mask)) == mask
    assert "".join(response_texts(example, tokenizer)).replace("<|end|>", "") == "".join(
        contents[1::2]
    )


TOKENIZERS = {t: tiny.byte_level_tokenizer(t) for t in (WITH_END, WITHOUT_END, TWO_MARKS)}


def test_a_slow_tokenizer_and_truncation_change_nothing() -> None:
    slow = tiny.CharacterTokenizer(chat_template=WITH_END)
    example = tokenize_conversation(TWO, slow, max_length=None)
    assert response_texts(example, slow) == ["Yes.<|end|>", "No. <|end|>"]
    with pytest.raises(Exception, match=r"."):
        library_mask(slow, ["a", "Yes."])
    fast = tiny.byte_level_tokenizer(WITH_END)
    fast.truncation_side, fast.model_max_length = "left", 4
    fast.backend_tokenizer.enable_truncation(4)
    whole = tokenize_conversation(TWO, fast, max_length=None)
    assert response_texts(whole, fast) == ["Yes.<|end|>", "No. <|end|>"]
