"""Responses of turns that call tools or reason, in templates of many families."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from transformers import PreTrainedTokenizerFast

from gradshield.data import (
    ChatTemplate,
    Conversation,
    Rejection,
    format_named,
    tokenize_conversation,
)
from gradshield.data.template import RenderedConversation
from tests import tiny_tokenizers as tiny
from tests.data.masks import response_texts, talk

TOOLS = "{% if tools %}<|system|>{{ tools | tojson }}<|end|>{% endif %}"
CALLS = (
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n'
    "</tool_call>{% endfor %}"
)
HERMES = (
    TOOLS + "{% for m in messages %}<|{{ m.role }}|>{{ m.content or '' }}" + CALLS + "<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# No header, a space before text only, and alternation that calls do not count in: as Mistral.
BRACKETS = (
    "{% set ns = namespace(turn=0) %}{% for m in messages %}"
    "{% if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}"
    "{% if (m.role == 'user') != (ns.turn % 2 == 0) %}{{ raise_exception('must alternate') }}"
    "{% endif %}{% set ns.turn = ns.turn + 1 %}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.content }}[/TOOL_RESULTS]"
    "{% elif m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
# The result's header repeats the name of what was called: as gpt-oss.
REPEATS_NAME = HERMES.replace(
    "<|{{ m.role }}|>",
    "{% if m.role == 'tool' %}<|{{ messages[loop.index0 - 1].tool_calls[0].function.name }}|>"
    "{% else %}<|{{ m.role }}|>{% endif %}",
).replace("</tool_call>", "<|call|>")
REASONS = HERMES.replace(
    "{{ m.content or '' }}",
    "{% if m.reasoning_content %}<|think|>{{ m.reasoning_content }}<|/think|>{% endif %}"
    "{{ m.content or '' }}",
)


def call(name: str = "weather", **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def conversation(*turns: dict[str, Any], **fields: Any) -> Conversation:
    row = {"messages": [{"role": "user", "content": "Weather?"}, *turns], **fields}
    return format_named("messages").to_conversation(row)


def calling(*calls: dict[str, Any], content: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **fields}


RESULT = {"role": "tool", "content": "4 C", "name": "weather"}
ANSWER = {"role": "assistant", "content": "4 degrees."}
DECLARED = [{"type": "function", "function": {"name": "weather", "description": "w"}}]
OSLO = call(city="Oslo")


def render(template: str, of: Conversation, **options: Any) -> RenderedConversation:
    return ChatTemplate(tiny.byte_level_tokenizer(template, **options)).render(
        of, of.response_turns
    )


def responses(template: str, of: Conversation) -> list[str]:
    rendered = render(template, of)
    return [rendered.text[start:end] for start, end in rendered.responses]


PRINTED = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|end|>'


@pytest.mark.parametrize(
    ("template", "turns", "expected"),
    [
        (HERMES, [calling(OSLO), RESULT, ANSWER], [PRINTED, "4 degrees.<|end|>"]),
        (HERMES, [calling(OSLO)], [PRINTED]),
        (HERMES, [calling(OSLO, content="I look.")], ["I look." + PRINTED]),
        (
            HERMES,
            [calling(OSLO), RESULT, calling(OSLO), RESULT],
            [PRINTED, PRINTED],
        ),
        (
            HERMES,
            [calling(OSLO, call("time"))],
            [
                PRINTED.removesuffix("<|end|>") + '<tool_call>\n{"name": "time", "arguments": {}}'
                "\n</tool_call><|end|>"
            ],
        ),
        (
            BRACKETS,
            [calling(OSLO), RESULT, ANSWER],
            [
                '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Oslo"}}]</s>',
                "4 degrees.</s>",
            ],
        ),
        (
            REPEATS_NAME,
            [calling(OSLO), RESULT, ANSWER],
            [PRINTED.replace("</tool_call>", "<|call|>"), "4 degrees.<|end|>"],
        ),
        (
            REASONS,
            [
                calling(OSLO, reasoning_content="Ask."),
                RESULT,
                {**ANSWER, "reasoning_content": "4 C."},
            ],
            ["<|think|>Ask.<|/think|>" + PRINTED, "<|think|>4 C.<|/think|>4 degrees.<|end|>"],
        ),
    ],
)
def test_a_call_is_a_response_with_its_markup_and_a_result_is_none(
    template: str, turns: list[dict[str, Any]], expected: list[str]
) -> None:
    assert responses(template, conversation(*turns, tools=DECLARED)) == expected


def test_only_the_last_turn_if_asked_for_and_tokens_are_those_of_the_text() -> None:
    tokenizer = tiny.byte_level_tokenizer(HERMES)
    of = conversation(calling(OSLO), RESULT, ANSWER, tools=DECLARED)
    example = tokenize_conversation(of.only_last_response(), tokenizer, max_length=None)
    assert response_texts(example, tokenizer) == ["4 degrees.<|end|>"]
    assert example.left_out == ()
    whole = tokenize_conversation(of, tokenizer, max_length=None)
    assert response_texts(whole, tokenizer) == [PRINTED, "4 degrees.<|end|>"]
    assert '"name": "weather"' in tokenizer.decode(
        whole.input_ids[: whole.response_mask.index(True)]
    )


@pytest.mark.parametrize(
    ("template", "turns", "words"),
    [
        (tiny.T1_PLAIN, [calling(OSLO)], r"turn 2 \(assistant\) is printed without its tool call"),
        (HERMES.replace("add_generation_prompt", "false"), [calling(OSLO)], "generation prompt"),
        (HERMES.replace("<|end|>", ""), [calling(OSLO), RESULT], "no end that is known"),
        (
            HERMES.replace("c.function.name ", "c.function.name | upper "),
            [calling(OSLO), RESULT],
            "left out",
        ),
        (
            "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
            "{% for m in messages %}" + CALLS + "{% endfor %}",
            [calling(OSLO, content="I look."), RESULT],
            "in pieces",
        ),
    ],
)
def test_a_call_that_cannot_be_told_from_the_prompt_is_rejected(
    template: str, turns: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(Rejection, match=words) as rejection:
        responses(template, conversation(*turns))
    assert rejection.value.reason == "template_not_understood"


def test_a_template_that_prints_two_calls_of_one_only_is_rejected() -> None:
    first_only = HERMES.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]")
    assert responses(first_only, conversation(calling(OSLO))) == [PRINTED]
    with pytest.raises(Rejection, match="without its tool call"):
        responses(first_only, conversation(calling(OSLO, call("time"))))


def test_what_the_template_does_not_print_is_named() -> None:
    reasoning = conversation({**ANSWER, "reasoning_content": "r"})
    assert render(HERMES, reasoning).left_out == (
        "reasoning that the chat template does not print",
    )
    assert render(REASONS, reasoning).left_out == ()
    no_prompt = tiny.T1_PLAIN.replace("add_generation_prompt", "false")
    assert render(no_prompt, reasoning).left_out == render(HERMES, reasoning).left_out
    tools = conversation(ANSWER, tools=DECLARED)
    assert render(HERMES, tools).left_out == ()
    unprinted = "tools declared that the chat template does not print"
    assert render(HERMES.removeprefix(TOOLS), tools).left_out == (unprinted,)
    insists = "messages[0].content == 'Weather?' and not tools"
    insists = f"{{% if {insists} %}}{{{{ raise_exception('no tools') }}}}{{% endif %}}"
    assert render(insists + HERMES, tools).left_out == ()
    no_text = HERMES.replace(
        "{{ m.content or '' }}", "{% if not m.tool_calls %}{{ m.content }}{% endif %}"
    )
    rendered = render(no_text, conversation(calling(OSLO, content="I look.")))
    assert rendered.left_out == ("text beside a tool call that the chat template does not print",)


texts = st.text(st.sampled_from(list('a<|end|>{}"\\\n é')), min_size=1, max_size=12)


@given(city=texts, result=texts, answer=texts.filter(lambda text: text.strip()))
def test_nothing_in_a_row_moves_a_boundary(city: str, result: str, answer: str) -> None:
    of = conversation(
        calling(call(city=city)),
        {**RESULT, "content": result},
        {"role": "assistant", "content": answer},
    )
    for template in (HERMES, BRACKETS, REPEATS_NAME):
        first, second = responses(template, of)
        assert json.dumps(city, ensure_ascii=False) in first
        assert first.endswith(("<|end|>", "</s>"))
        assert first.lstrip("[TOL_CAS] ").startswith(("<tool_call>", '{"name": "weather"'))
        assert second.startswith(answer)
        assert second.removeprefix(answer) in ("<|end|>", "</s>")


# Published templates, each with a version in which the makers of TRL marked what is generated: an
# independent answer to the same question.
needs_nulls_left_out = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.24"),
    reason="earlier versions hand null contents to the template, which this one fails on",
)
MARKED_FAMILIES = [
    "qwen2_5",
    "qwen3",
    "qwen3_instruct_2507",
    "qwen3_5_think",
    "lfm2_v2",
    "glm4moe",
    pytest.param("gptoss", marks=needs_nulls_left_out),
    "nemotron_3_nano",
]
CALL_ONLY = ["llama3_1", "llama3_2", "gemma4"]


@cache
def published(name: str) -> PreTrainedTokenizerFast:
    file = files("trl").joinpath("chat_templates", f"{name}.jinja")
    if not file.is_file():
        pytest.skip(f"this version of TRL has no template {name}")
    text = file.read_text(encoding="utf-8")
    tokens = dict.fromkeys(re.findall(r"<\|[a-z_]+\|>", text))
    return tiny.byte_level_tokenizer(text, extra_tokens=tuple(tokens))


def spans(tokenizer: PreTrainedTokenizerFast, of: Conversation) -> list[str]:
    rendered = ChatTemplate(tokenizer).render(of, of.response_turns)
    return [rendered.text[start:end] for start, end in rendered.responses]


def check_agreement(own: list[str], marked: list[str]) -> None:
    """What is found is in what is marked, and the rest of that is no text of the row."""
    assert len(own) == len(marked)
    for mine, theirs in zip(own, marked, strict=True):
        # Theirs may have a header that the generation prompt gives, empty reasoning, the line feed
        # after the end of turn, or the token that opens the next turn.
        core = mine.strip().removeprefix("</think>").strip()
        assert core in theirs
        rest = theirs.replace(core, "", 1)
        assert re.fullmatch(
            r"\s*(<\|start\|>assistant)?(<\|channel\|>final<\|message\|>)?"
            r"(<think>\s*(</think>)?)?(</think>)?\s*(<\|(user|observation)\|>)?(<\|end\|>)?\s*",
            rest,
        )


@pytest.mark.parametrize("name", MARKED_FAMILIES)
def test_published_templates_agree_with_their_marked_versions(name: str) -> None:
    of = conversation(calling(call(city='Oslo "x"', days=3)), RESULT, ANSWER, tools=DECLARED)
    own, marked = spans(published(name), of), spans(published(f"{name}_training"), of)
    assert len(own) == 2
    check_agreement(own, marked)


# No letter of any header, so that it is plain what is left of a marked text.
short = st.text(st.sampled_from('qzé "{'), min_size=1, max_size=5).filter(str.strip)
reasons = st.one_of(st.none(), short)


@st.composite
def exchanges(draw: st.DrawFn) -> Conversation:
    """One to three questions, each answered after up to two calls, with reasoning or without."""
    turns: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 3))):
        turns += [{"role": "user", "content": draw(short)}] if number else []
        for _ in range(draw(st.integers(0, 2))):
            made = call(city=draw(short), days=draw(st.integers(0, 9)))
            content, thought = draw(reasons), draw(reasons)
            turns += [calling(made, content=content, reasoning_content=thought), RESULT]
        turns.append({**ANSWER, "content": draw(short), "reasoning_content": draw(reasons)})
    return conversation(*turns, tools=DECLARED)


@pytest.mark.parametrize("name", ["lfm2_v2", "glm4moe", "nemotron_3_nano"])
@settings(max_examples=12)
@given(of=exchanges())
def test_they_agree_on_long_conversations(name: str, of: Conversation) -> None:
    check_agreement(spans(published(name), of), spans(published(f"{name}_training"), of))


@pytest.mark.parametrize("name", CALL_ONLY)
def test_published_templates_without_a_marked_version(name: str) -> None:
    of = conversation(calling(OSLO), RESULT, ANSWER, tools=DECLARED)
    first, second = spans(published(name), of)
    assert "Oslo" in first
    assert "4 C" not in first
    assert second.startswith("4 degrees.")


def test_a_conversation_without_calls_needs_no_survey() -> None:
    # The reasoning is in the content: found by the landmarks alone, generation prompt or not.
    no_prompt = tiny.T5_THINKING.replace("add_generation_prompt", "false")
    of = talk("a", "<think>r</think>42", "b", "<think>s</think>43")
    assert responses(no_prompt, of) == ["42<|end|>", "<think>s</think>43<|end|>"]
