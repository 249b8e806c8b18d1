"""Chat-template trouble, one case a line: the right mask, or a message that says the mend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from gradshield.data import (
    Conversation,
    DataError,
    Message,
    Rejection,
    format_named,
    tokenize_conversation,
)
from tests import tiny_tokenizers as tiny
from tests.data.masks import response_texts, talk

TURN = "<|{{ m.role }}|>{{ m.content }}<|end|>"
TURNS = "{% for m in messages %}" + TURN + "{% endfor %}"
HEADINGS = "{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}"
HEADINGS_WITH_STOP = HEADINGS.replace("\n\n", "\n[stop]\n")
ONE_LINE = "{% for m in messages %} {{ m.role }}: {{ m.content }}{% endfor %}"
NO_ROLES = "{% for m in messages %}{{ m.content }}\n[stop]\n{% endfor %}"
NEEDS_SYSTEM = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('system turn missing') }}{% endif %}"
)
MARKED = (
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %}"
    "{{ m.content }}<|end|>{% endgeneration %}{% else %}{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}"
)
SYSTEM_IN_USER = (
    "{% set system = messages[0].content ~ '; ' if messages[0].role == 'system' else '' %}"
    "{% for m in messages if m.role != 'system' %}<|{{ m.role }}|>"
    "{% if loop.first %}{{ system }}{% endif %}{{ m.content }}<|end|>{% endfor %}"
)
NO_REASONING = TURNS.replace("m.content", "m.content.split('</think>')[-1]")
PARTS_ONLY = TURNS.replace("{{ m.content }}", "{% for p in m.content %}{{ p.text }}{% endfor %}")
# Space after the header and around the end, as in the templates of the Llama 2 kind.
SPACED = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
)
QUOTES_TWICE = TURNS + "{{ messages[-1].content }}"

byte_level = tiny.byte_level_tokenizer
TWO = talk("a", "Yes.", " b", "No. ")
SYSTEM = talk("a", "Yes.", system="Be brief.")
EATEN = talk("a ", "  42  ", "b", "\nYes. \n")


def eats_space(template: str, *, lstrip: bool = False, rstrip: bool = False) -> Any:
    """The control tokens swallow the white space before or after them, as some published do."""
    tokens = (*tiny.CONTROL_TOKENS, "<|im_start|>", "<|im_end|>")
    tokenizer = byte_level(template, extra_tokens=tokens[-2:])
    eaters = [AddedToken(t, lstrip=lstrip, rstrip=rstrip, special=True) for t in tokens]
    tokenizer.add_tokens(eaters, special_tokens=True)
    return tokenizer


def with_backend(template: str = TURNS, **parts: Any) -> PreTrainedTokenizerFast:
    tokenizer = byte_level(template)
    for name, part in parts.items():
        setattr(tokenizer.backend_tokenizer, name, part)
    return tokenizer


def padded_left_and_cut() -> PreTrainedTokenizerFast:
    """Everything that a tokenizer's own files can ask for about padding and truncation."""
    tokenizer = byte_level(TURNS)
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    tokenizer.backend_tokenizer.enable_padding(direction="left", length=64)
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.model_max_length = 4
    return tokenizer


def without_padding(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.pad_token = None
    assert tokenizer.pad_token_id is None
    return tokenizer


def several_templates(**templates: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_level(None)
    tokenizer.chat_template = templates
    return tokenizer


@dataclass(frozen=True)
class Right:
    """A case that gives a mask: the decoded responses, and the decoded whole if it is unusual."""

    trouble: str
    tokenizer: Callable[[], PreTrainedTokenizerBase]
    conversation: Conversation
    responses: Sequence[str]
    whole: str | None = None


RIGHT = [
    Right("no generation prompt", lambda: byte_level(TURNS), TWO, ["Yes.<|end|>", "No. <|end|>"]),
    Right(
        "a generation prompt though none was asked for",
        lambda: byte_level(TURNS + "<|assistant|>"),
        TWO,
        ["Yes.<|end|>", "No. <|end|>"],
    ),
    Right(
        "the same in plain text",
        lambda: byte_level(HEADINGS + "### assistant:\n"),
        TWO,
        ["Yes.", "No. "],
    ),
    Right(
        "the same after an end of turn in plain text",
        lambda: byte_level(HEADINGS_WITH_STOP + "### assistant:\n"),
        TWO,
        ["Yes.\n[stop]", "No. \n[stop]"],
    ),
    Right(
        "the same on one line", lambda: byte_level(ONE_LINE + " assistant:"), TWO, ["Yes.", "No. "]
    ),
    Right(
        "neither roles nor tokens",
        lambda: byte_level(NO_ROLES),
        TWO,
        ["Yes.\n[stop]", "No. \n[stop]"],
    ),
    Right("headings only", lambda: byte_level(HEADINGS), TWO, ["Yes.", "No. "]),
    Right("generation markers", lambda: byte_level(MARKED), TWO, ["Yes.<|end|>", "No. <|end|>"]),
    Right(
        "several templates, one the default",
        lambda: several_templates(default=TURNS, tool_use="{{ 1 / 0 }}"),
        TWO,
        ["Yes.<|end|>", "No. <|end|>"],
    ),
    Right(
        "a system turn demanded",
        lambda: byte_level(NEEDS_SYSTEM + TURNS),
        SYSTEM,
        ["Yes.<|end|>"],
        "<|system|>Be brief.<|end|><|user|>a<|end|><|assistant|>Yes.<|end|>",
    ),
    Right(
        "the system turn stripped",
        lambda: byte_level(TURNS.replace("in messages", "in messages if m.role != 'system'")),
        SYSTEM,
        ["Yes.<|end|>"],
        "<|user|>a<|end|><|assistant|>Yes.<|end|>",
    ),
    Right(
        "the system turn moved into the user's",
        lambda: byte_level(SYSTEM_IN_USER),
        SYSTEM,
        ["Yes.<|end|>"],
        "<|user|>Be brief.; a<|end|><|assistant|>Yes.<|end|>",
    ),
    Right(
        "all questions before all answers",
        lambda: byte_level(
            TURNS.replace("in messages", "in messages | sort(attribute='role', reverse=true)")
        ),
        TWO,
        ["Yes.<|end|>", "No. <|end|>"],
        "<|user|>a<|end|><|user|> b<|end|><|assistant|>Yes.<|end|><|assistant|>No. <|end|>",
    ),
    Right(
        "BOS in the template, and one from the tokenizer",
        lambda: byte_level("{{ bos_token }}" + TURNS, adds_bos=True),
        talk("a", "Yes."),
        ["Yes.<|end|>"],
        "<s><|user|>a<|end|><|assistant|>Yes.<|end|>",
    ),
    Right(
        "a token that holds the end of the prompt and the start of the answer",
        lambda: byte_level(tiny.BARE),
        talk("Total:", " 42"),
        [" 42"],
    ),
    Right(
        "a space before the answer that would be in its first token",
        lambda: tiny.sentencepiece_like_tokenizer(SPACED),
        talk("42", "The 42", "42", "Yes"),
        ["The 42 </s>", "Yes </s>"],
        "<s> [INST] 42 [/INST] The 42 </s><s> [INST] 42 [/INST] Yes </s>",
    ),
    Right(
        "padding is the end of turn",
        lambda: byte_level(TURNS.replace("<|end|>", "{{ eos_token }}"), pad_token="</s>"),
        TWO,
        ["Yes.</s>", "No. </s>"],
    ),
    Right(
        "reasoning of earlier turns cut",
        lambda: byte_level(tiny.T5_THINKING),
        talk("a", "<think>r</think>42", "b", "<think>s</think>43"),
        ["42<|end|>", "<think>s</think>43<|end|>"],
    ),
    Right(
        "reasoning of every turn cut",
        lambda: byte_level(NO_REASONING),
        talk("a", "<think>r</think>42"),
        ["42<|end|>"],
        "<|user|>a<|end|><|assistant|>42<|end|>",
    ),
    Right(
        "reasoning without an end",
        lambda: byte_level(tiny.T5_THINKING),
        talk("a", "<think>42", "b", "c"),
        ["<think>42<|end|>", "c<|end|>"],
    ),
    Right(
        "reasoning twice in an answer",
        lambda: byte_level(tiny.T5_THINKING),
        talk("a", "<think>r</think>4<think>s</think>2"),
        ["<think>r</think>4<think>s</think>2<|end|>"],
    ),
    Right(
        "an empty reasoning block of the template's own",
        lambda: byte_level(tiny.REPRINTS_THINKING),
        talk("a", "42"),
        ["42<|end|>"],
        "<|user|>a<|end|><|assistant|><think>\n</think>\n\n42<|end|>",
    ),
    Right(
        "space eaten before control tokens",
        lambda: eats_space(TURNS, lstrip=True),
        EATEN,
        ["  42<|end|>", "\nYes.<|end|>"],
    ),
    Right(
        "space eaten after control tokens",
        lambda: eats_space(TURNS, rstrip=True),
        EATEN,
        ["42  <|end|>", "Yes. \n<|end|>"],
    ),
    Right(
        "space eaten on both sides",
        lambda: eats_space(TURNS, lstrip=True, rstrip=True),
        EATEN,
        ["42<|end|>", "Yes.<|end|>"],
    ),
    Right(
        "the template's line feed eaten after the end of turn",
        lambda: eats_space(tiny.CHATML, rstrip=True),
        EATEN,
        ["  42  <|im_end|>", "\nYes. \n<|im_end|>"],
    ),
    Right(
        "space eaten before the next turn, no end of turn",
        lambda: eats_space(TURNS.replace("<|end|>", ""), lstrip=True),
        EATEN,
        ["  42", "\nYes. \n"],
    ),
    Right(
        "space at the ends eaten by the normaliser",
        lambda: with_backend(normalizer=normalizers.Strip()),
        EATEN,
        ["42<|end|>", "Yes.<|end|>"],
    ),
    Right(
        "all space eaten",
        lambda: with_backend(
            pre_tokenizer=pre_tokenizers.Sequence(
                [
                    pre_tokenizers.WhitespaceSplit(),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            )
        ),
        talk("a b", "  42 EUR "),
        ["42EUR<|end|>"],
    ),
    Right("left padding and truncation", padded_left_and_cut, TWO, ["Yes.<|end|>", "No. <|end|>"]),
    Right(
        "no padding token",
        lambda: without_padding(byte_level(TURNS)),
        TWO,
        ["Yes.<|end|>", "No. <|end|>"],
    ),
]


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.trouble)
def test_the_responses_are_the_answers_and_their_ends_of_turn(case: Right) -> None:
    tokenizer = case.tokenizer()
    example = tokenize_conversation(case.conversation, tokenizer, max_length=None)
    assert response_texts(example, tokenizer) == list(case.responses)
    if case.whole is not None:
        assert tokenizer.decode(example.input_ids) == case.whole


# Here a boundary lies within a token, or the tokenizer does not tell where its tokens lie.
CUT_IN_PIECES = {
    "the same on one line",
    "a token that holds the end of the prompt and the start of the answer",
    "a space before the answer that would be in its first token",
}


def whole_text_ids(conversation: Conversation, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    turns = [{"role": m.role, "content": m.content} for m in conversation.messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    encoded = tokenizer(text, add_special_tokens=False, padding=False, truncation=False)
    return list(encoded["input_ids"])


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: case.trouble)
def test_the_tokens_are_those_of_the_whole_text(case: Right) -> None:
    # As a trainer encodes it; cut at a boundary, the text would get back the space that is eaten.
    tokenizer = case.tokenizer()
    example = tokenize_conversation(case.conversation, case.tokenizer(), max_length=None)
    same = list(example.input_ids) == whole_text_ids(case.conversation, tokenizer)
    assert same != (case.trouble in CUT_IN_PIECES)


EATERS = [
    eats_space(template, lstrip=lstrip, rstrip=rstrip)
    for template in (TURNS, tiny.CHATML)
    for lstrip, rstrip in ((True, False), (False, True), (True, True))
]


@pytest.mark.parametrize("tokenizer", EATERS)
@given(
    contents=st.lists(
        st.text(st.sampled_from(" \n\té4.\u00a0")).filter(str.strip), min_size=2, max_size=6
    )
)
def test_eaten_space_moves_no_boundary(
    tokenizer: PreTrainedTokenizerBase, contents: list[str]
) -> None:
    conversation = talk(*contents)
    example = tokenize_conversation(conversation, tokenizer, max_length=None)
    end = "<|im_end|>" if "im_end" in str(tokenizer.chat_template) else "<|end|>"
    found = ["".join(text.split()) for text in response_texts(example, tokenizer)]
    assert found == ["".join(text.split()) + end for text in contents[1::2]]
    assert list(example.input_ids) == whole_text_ids(conversation, tokenizer)


@pytest.mark.parametrize(
    ("tokenizer", "words"),
    [
        (lambda: byte_level(None), "no chat template.*set tokenizer.chat_template"),
        (
            lambda: several_templates(tool_use=TURNS, rag=TURNS),
            r"several chat templates \(rag, tool_use\).*set tokenizer.chat_template",
        ),
        (lambda: byte_level(""), "set tokenizer.chat_template"),
        (lambda: byte_level("{{ 1 / 0 }}"), "set tokenizer.chat_template.*division by zero"),
        (lambda: byte_level("{% for"), "set tokenizer.chat_template"),
        (lambda: byte_level(PARTS_ONLY), "set tokenizer.chat_template.*not printed exactly once"),
        (lambda: byte_level(QUOTES_TWICE), "set tokenizer.chat_template.*not printed exactly once"),
    ],
)
def test_a_template_that_is_of_no_use_stops_with_the_mend(
    tokenizer: Callable[[], PreTrainedTokenizerBase], words: str
) -> None:
    with pytest.raises(DataError, match=words) as error:
        tokenize_conversation(TWO, tokenizer(), max_length=None)
    assert "\n" not in str(error.value)


TWICE = Conversation((Message("user", "a"), *talk("b", "c").messages))


@pytest.mark.parametrize(
    ("template", "conversation", "reason", "words"),
    [
        (
            tiny.T2_NO_SYSTEM,
            SYSTEM,
            "template_error",
            "system turn unsupported; .*put that text into the first user turn",
        ),
        (tiny.ALTERNATES, TWICE, "template_error", "1 and 2 are both user.*join them"),
        (
            NEEDS_SYSTEM + TURNS,
            TWO,
            "template_error",
            "user, assistant, user, assistant: system turn missing; change the turns",
        ),
        (
            "{% for m in messages %}{% if 'No' in m.content %}{{ m.a.b }}{% endif %}"
            + TURN
            + "{% endfor %}",
            TWO,
            "template_error",
            "has no attribute 'a'; change the turns",
        ),
        (TURNS.replace("messages", "messages[-2:]"), TWO, "template_not_understood", "turn 2"),
        (
            TURNS.replace("messages", "messages | reverse"),
            TWO,
            "template_not_understood",
            "use a template that prints answers as they are",
        ),
        (
            tiny.T5_THINKING,
            talk("a", "<think>all of it</think>", "b", "c"),
            "template_not_understood",
            r"turn 2 \(assistant\) is rewritten or left out",
        ),
    ],
)
def test_a_row_that_the_template_spoils_is_refused_with_the_mend(
    template: str, conversation: Conversation, reason: str, words: str
) -> None:
    with pytest.raises(Rejection, match=words) as rejection:
        tokenize_conversation(conversation, byte_level(template), max_length=None)
    assert rejection.value.reason == reason


def row(*turns: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "a"}, *turns]}


def test_content_as_a_list_of_parts_is_printed_as_text() -> None:
    parts = [{"type": "text", "text": "The"}, {"type": "text", "text": "Loire."}]
    conversation = format_named("messages").to_conversation(
        row({"role": "assistant", "content": parts})
    )
    tokenizer = byte_level(TURNS)
    example = tokenize_conversation(conversation, tokenizer, max_length=None)
    assert response_texts(example, tokenizer) == ["The\nLoire.<|end|>"]


CALLS = [{"type": "function", "function": {"name": "weather", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        ({"content": None, "tool_calls": [{}]}, "tool call 1 of turn 2 .* has no function"),
        ({"content": None, "function_call": CALLS[0]}, "has no function with a name"),
        ({"content": None}, "'content' of turn 2 of 'messages' is null"),
        ({"content": [{"type": "text", "text": None}]}, "part 1 .* is not text"),
        ({"content": "b", "reasoning_content": {}, "thinking": 1}, "'thinking' of turn 2 .* not"),
    ],
)
def test_a_turn_that_is_not_text_only_is_refused_and_not_half_read(
    turn: dict[str, Any], words: str
) -> None:
    with pytest.raises(Rejection, match=words) as rejection:
        format_named("messages").to_conversation(row({"role": "assistant", **turn}))
    assert rejection.value.reason == "unsupported_content"
