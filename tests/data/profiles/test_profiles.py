"""What holds for all profiles."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradshield.data import DataError, Rejection, make_profile, tokenize_rows
from gradshield.data.profiles import DEFAULT_PROFILE, PROFILES
from gradshield.data.rows import SourceRow
from tests.data.profiles.cases import ONE, SIX, tokenizer, turns
from tests.data.profiles.golden import ours

EVERY_PROFILE: list[dict[str, Any]] = [
    *({"name": name} for name in PROFILES),
    {"name": "llamafactory", "template": "llama3", "formatting": "alpaca"},
    {"name": "llamafactory", "template": "gemma2", "formatting": "sharegpt"},
    {"name": "llamafactory", "template": "qwen3", "formatting": "openai"},
    {"name": "axolotl", "type": "alpaca"},
    {"name": "axolotl", "type": "alpaca_w_system.load"},
    {"name": "axolotl", "type": "completion"},
    {"name": "axolotl", "type": "input_output"},
    {"name": "axolotl", "field_messages": "conversations", "excess_length_strategy": "truncate"},
]

_texts = st.sampled_from(["a", "", " ", "The Loire.", "\ud83d", "<|im_end|>", "user"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1) | _texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "from", "value", "text", "label", "weight", "type"]
            ),
            inner | st.sampled_from(["user", "assistant", "system", "human", "gpt", "text"]),
            max_size=3,
        )
    ),
    max_leaves=8,
)
_FIELDS = (
    "messages conversations prompt completion text instruction input output system segments tools"
)
_rows = st.dictionaries(st.sampled_from(_FIELDS.split()), _values, max_size=4)


@pytest.mark.parametrize("profile", EVERY_PROFILE, ids=str)
@settings(max_examples=60, deadline=None)
@given(row=_rows, max_length=st.sampled_from([None, 2, 9]))
def test_any_row_is_an_example_or_a_rejection(
    profile: dict[str, Any], row: dict[str, Any], max_length: int | None
) -> None:
    try:
        example = ours(profile, row, "chatml_eos", max_length)
    except Rejection:
        return
    assert len(example.input_ids) == len(example.response_mask)
    assert example.response_tokens > 0
    assert not example.response_mask[0]
    assert max_length is None or len(example.input_ids) <= max_length


@pytest.mark.parametrize("profile", EVERY_PROFILE, ids=str)
def test_the_tokenizer_stays_as_it_is(profile: dict[str, Any]) -> None:
    shared = tokenizer("chatml")
    before = (shared.chat_template, shared.eos_token, len(shared))
    make_profile(profile).encoder(shared, lambda row: NotImplemented, None)
    settings = {"name": "axolotl", "chat_template": "{{ messages[0].content }}"}
    eos = {"special_tokens": {"eos_token": "<|im_end|>"}}
    with pytest.raises(DataError):
        make_profile({**settings, **eos}).encoder(shared, lambda row: NotImplemented, None)
    assert (shared.chat_template, shared.eos_token, len(shared)) == before


@pytest.mark.parametrize("name", PROFILES)
def test_an_empty_answer_is_rejected_alike(name: str) -> None:
    with pytest.raises(Rejection) as caught:
        ours(name, {"messages": turns("Say nothing.", " ")}, "chatml_eos")
    assert caught.value.reason == "empty_response"


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_says_what_it_does(name: str) -> None:
    facts = make_profile(name).facts()
    assert facts["profile"] == name
    assert all(isinstance(text, str) and text for text in facts.values())
    assert sorted(facts) == ["averaging", "carries_loss", "checked_with", "cuts", "profile"]


@pytest.mark.parametrize("profile", EVERY_PROFILE, ids=str)
def test_a_profile_comes_back_from_its_settings(profile: dict[str, Any]) -> None:
    made = make_profile(profile)
    assert make_profile(made.model_dump(mode="json")) == made


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("axolotol", "unknown profile 'axolotol'; use one of responses, trl, axolotl"),
        ({"name": ["trl"]}, "unknown profile"),
        (3, "unknown profile 3"),
        ({"name": "trl", "packing": True}, "no setting 'packing'; its settings are assistant_only"),
        ({"name": "trl", "assistant_only_loss": "perhaps"}, "assistant_only_loss: Input should be"),
        ({"name": "llamafactory", "template": "lama3"}, "template: there is no 'lama3'"),
        (
            {"name": "llamafactory", "mask_history": True, "train_on_prompt": True},
            "exclude each other",
        ),
        ({"name": "axolotl", "type": "metharme"}, "the type 'metharme' is not supported; known"),
        ({"name": "unsloth", "response_part": "x"}, "both instruction_part and response_part"),
    ],
)
def test_what_is_not_known_is_named(given: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        make_profile(given)


def test_the_default_profile_is_the_first() -> None:
    assert next(iter(PROFILES)) == DEFAULT_PROFILE


def test_rows_are_examples_or_rejections_under_a_profile() -> None:
    rows = [
        SourceRow(0, 1, {"messages": SIX}),
        SourceRow(1, 2, None, "line 2 is no JSON"),
        SourceRow(2, 3, {"messages": ONE[:1]}),
        SourceRow(3, 4, {"conversations": ONE}),
    ]
    examples, rejections, statement = tokenize_rows(
        rows, tokenizer("chatml_eos"), profile="openai", max_length=None
    )
    assert [example.row for example in examples] == [0]
    assert {row: why.reason for row, why in rejections.items()} == {
        1: "invalid_json",
        2: "no_assistant_turn",
        3: "not_read_by_trainer",
    }
    assert statement.startswith("format: messages")
