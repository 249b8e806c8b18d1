from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from gradshield.data import ChatTemplate, Conversation, Message, Rejection, TemplateError
from tests import tiny_tokenizers as tiny
from tests.data.masks import talk


def responses(template: str, conversation: Conversation, **options: Any) -> list[str]:
    tokenizer = tiny.byte_level_tokenizer(template, **options)
    rendered = ChatTemplate(tokenizer).render(conversation, conversation.response_turns)
    turns = [{"role": m.role, "content": m.content} for m in conversation.messages]
    assert rendered.text == tokenizer.apply_chat_template(turns, tokenize=False)
    return [rendered.text[start:end] for start, end in rendered.responses]


RIVER = talk("Name a river.", "The Loire.")
SUMS = talk("Sum 4 and 9?", "<think>four plus nine</think>13", "Double it", "<think>x2</think>26")


def test_responses_are_found_without_generation_markers() -> None:
    assert responses(tiny.T1_PLAIN, RIVER) == ["The Loire.<|end|>"]


def test_six_turns_with_identical_and_trimmed_answers_have_their_own_spans() -> None:
    conversation = talk("a", "Yes.", "Yes.", "  indented\n", "c", "Yes.")
    tokenizer = tiny.byte_level_tokenizer(tiny.T3_TRIMS)
    rendered = ChatTemplate(tokenizer).render(conversation, conversation.response_turns)
    assert rendered.text == (
        "<|user|>a<|end|><|assistant|>Yes.<|end|><|user|>Yes.<|end|><|assistant|>indented<|end|>"
        "<|user|>c<|end|><|assistant|>Yes.<|end|>"
    )
    assert rendered.responses == ((29, 40), (72, 87), (116, 127))


def test_a_template_that_drops_earlier_reasoning_gives_spans_in_their_own_turns() -> None:
    assert responses(tiny.T5_THINKING, SUMS) == ["13<|end|>", "<think>x2</think>26<|end|>"]


def test_a_template_that_prints_reasoning_anew_gives_the_whole_printed_answer() -> None:
    printed = "<think>\nx2</think>\n\n26<|end|>"
    assert responses(tiny.REPRINTS_THINKING, SUMS) == ["13<|end|>", printed]
    # The template supplies the opening tag, or an empty block, which is then no part of the answer.
    assert responses(tiny.REPRINTS_THINKING, talk("a", "x2</think>26")) == [printed]
    assert responses(tiny.REPRINTS_THINKING, talk("a", "26")) == ["26<|end|>"]


@pytest.mark.parametrize(
    ("template", "contents"),
    [
        (tiny.T1_PLAIN.replace("m.content", "m.content | upper"), ["a", "b"]),
        (tiny.T1_PLAIN.replace("m.content", "(m.content | replace('b', 'x'))"), ["a", "b"]),
        ("{{ messages[0].content }}{{ messages[1].content }}", ["a", "b", "c", "d"]),
        (tiny.T5_THINKING, ["a", "<think>nothing after</think>", "c", "d"]),
    ],
)
def test_a_template_that_rewrites_or_drops_answers_is_not_understood(
    template: str, contents: list[str]
) -> None:
    with pytest.raises((Rejection, TemplateError)) as refusal:
        responses(template, talk(*contents))
    assert "printed exactly once" in str(refusal.value) or (
        isinstance(refusal.value, Rejection) and refusal.value.reason == "template_not_understood"
    )


def test_a_template_error_is_the_row_s_and_names_the_turns() -> None:
    with pytest.raises(Rejection, match="system turn unsupported") as rejection:
        responses(tiny.T2_NO_SYSTEM, talk("2+3?", "5", system="Be brief."))
    assert rejection.value.reason == "template_error"
    assert responses(tiny.T2_NO_SYSTEM, talk("2+3?", "5")) == ["5<|end|>"]
    consecutive = Conversation(
        (*talk("Hi", "Hello").messages, Message("user", "One more"), Message("user", "thing"))
    )
    with pytest.raises(Rejection, match=r"turns 3 and 4 are both user: roles must alternate"):
        responses(tiny.ALTERNATES, consecutive)
    assert responses(tiny.T1_PLAIN, consecutive) == ["Hello<|end|>"]


@pytest.mark.parametrize(
    ("template", "end_of_turn", "answers"),
    [
        (tiny.CHATML, "<|im_end|>", ["b<|im_end|>", "d<|im_end|>"]),
        (tiny.T1_PLAIN + "{{ eos_token }}", "<|end|>", ["b<|end|>", "d<|end|>"]),
        (tiny.T1_PLAIN.replace("<|end|>", " {{ eos_token }} "), " </s>", ["b </s>", "d </s>"]),
        (tiny.T1_PLAIN.replace("<|end|>", "\n[stop] "), "\n[stop]", ["b\n[stop]", "d\n[stop]"]),
        (tiny.BARE, "", ["b", "d"]),
        # Only the last answer is ended: the others are followed by the next turn.
        (tiny.T1_PLAIN.replace("<|end|>", "") + "</s>", "</s>", ["b", "d</s>"]),
    ],
)
def test_the_end_of_turn_belongs_to_the_answer(
    template: str, end_of_turn: str, answers: list[str]
) -> None:
    extra = ("<|im_start|>", "<|im_end|>")
    tokenizer = tiny.byte_level_tokenizer(template, extra_tokens=extra)
    assert ChatTemplate(tokenizer).end_of_turn == end_of_turn
    assert responses(template, talk("a", "b", "c", "d"), extra_tokens=extra) == answers


def test_only_the_chosen_turns_are_looked_for() -> None:
    conversation = talk("a", "<think>all cut</think>", "c", "d")
    rendered = ChatTemplate(tiny.byte_level_tokenizer(tiny.T5_THINKING)).render(conversation, [3])
    ((start, end),) = rendered.responses
    assert rendered.text[start:end] == "d<|end|>"


@pytest.mark.parametrize("template", [None, "{% for", "{{ raise_exception('never') }}", "fixed"])
def test_a_useless_template_is_an_error_at_the_start(template: str | None) -> None:
    with pytest.raises(TemplateError, match="chat template"):
        ChatTemplate(tiny.byte_level_tokenizer(template))


def test_a_mapping_instead_of_text_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.byte_level_tokenizer()
    monkeypatch.setattr(tokenizer, "apply_chat_template", lambda *_, **__: {"input_ids": [1]})
    with pytest.raises(TemplateError, match="returned dict"):
        ChatTemplate(tokenizer)


def test_a_changed_template_is_noticed_and_tokenizers_are_not_kept_alive() -> None:
    tokenizer = tiny.byte_level_tokenizer(tiny.T1_PLAIN)
    assert ChatTemplate(tokenizer).end_of_turn == "<|end|>"
    tokenizer.chat_template = tiny.BARE + "{{ eos_token }}"
    assert ChatTemplate(tokenizer).end_of_turn == "</s>"
    tokenizer.eos_token = "<pad>"
    assert ChatTemplate(tokenizer).end_of_turn == "<pad>"
    alive = weakref.ref(tokenizer)
    del tokenizer
    gc.collect()
    assert alive() is None
