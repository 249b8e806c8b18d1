"""Chat templates that attack: the sandbox holds, and loops and floods have an end."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from gradshield.data import (
    Conversation,
    DataError,
    Message,
    Rejection,
    rendering,
    tokenize_conversation,
)
from gradshield.errors import UserError
from gradshield.models.prompts import prompt_token_ids
from tests.tiny_models import chat_tokenizer
from tests.tiny_tokenizers import CHATML

TALK = Conversation((Message("user", "Hi"), Message("assistant", "Hello")))


def with_template(template: str) -> PreTrainedTokenizerBase:
    tokenizer = copy.deepcopy(chat_tokenizer())
    tokenizer.chat_template = template
    return tokenizer


WALKS = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ raise_exception.__globals__['os'].system('touch FILE') }}",
    "builtins": "{{ cycler.__init__.__globals__.__builtins__.open('FILE', 'w') }}",
    "filter": "{{ (messages | attr('__class__')).__mro__ }}",
    "format": "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "map": "{{ [messages] | map(attribute='__class__') | list }}{{ ''.__class__.x }}",
    "self": "{{ self._TemplateReference__context.environment.globals.__class__ }}",
    "import": "{% import 'os' as os %}{{ os.system('touch FILE') }}",
    "include": "{% include '/etc/passwd' %}",
    "change": "{{ messages.append({'role': 'user', 'content': 'x'}) }}",
    "clear": "{{ messages.clear() }}",
    "update": "{{ messages[0].update({'content': 'x'}) }}",
}


@pytest.mark.parametrize("name", WALKS)
def test_the_sandbox_holds(tmp_path: Path, name: str) -> None:
    """A change of transformers' sandbox, or its loss, is to be seen here."""
    file = tmp_path / "written"
    tokenizer = with_template(WALKS[name].replace("FILE", str(file)) + CHATML)
    with pytest.raises((DataError, Rejection)):
        tokenize_conversation(TALK, tokenizer, max_length=None)
    assert not file.exists()
    with pytest.raises(UserError, match="chat template cannot print a prompt"):
        prompt_token_ids(tokenizer, "Hi")


def test_an_endless_loop_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "MOST_SECONDS", 0.3)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    start = time.monotonic()
    with pytest.raises(DataError, match=r"longer than 0\.3 seconds"):
        tokenize_conversation(TALK, with_template(loops + CHATML), max_length=None)
    assert time.monotonic() - start < 10


def test_a_loop_for_one_row_rejects_that_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "MOST_SECONDS", 0.3)
    trigger = (
        "{% if 'boom' in messages[0].content %}{% for a in range(99999) %}"
        "{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}"
    )
    tokenizer = with_template(trigger + CHATML)
    assert tokenize_conversation(TALK, tokenizer, max_length=None).response_tokens
    hostile = Conversation((Message("user", "boom"), Message("assistant", "Hello")))
    with pytest.raises(Rejection, match=r"template_error: .*longer than"):
        tokenize_conversation(hostile, tokenizer, max_length=None)


@pytest.mark.parametrize(
    "flood", ["{{ 'x' * 3000000 }}", "{{ 'x' | center(3000000) }}", "{{ '%3000000s' % 'x' }}"]
)
def test_a_flood_of_text_is_refused(flood: str) -> None:
    with pytest.raises(DataError, match=r"prints 3,000,0.. characters, more than 1,0"):
        tokenize_conversation(TALK, with_template(flood + CHATML), max_length=None)


def test_a_flood_beyond_the_memory_is_refused() -> None:
    flood = "{{ 'x' * 50000000000 }}"
    with pytest.raises(DataError, match="cannot print one question"):
        tokenize_conversation(TALK, with_template(flood + CHATML), max_length=None)


def test_endless_recursion_is_refused() -> None:
    recursion = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"
    with pytest.raises(DataError, match="recursion"):
        tokenize_conversation(TALK, with_template(recursion + CHATML), max_length=None)


def test_a_long_conversation_is_no_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "MOST_MORE", 500)
    long = Conversation((Message("user", "Hi " * 5000), Message("assistant", "Hello")))
    assert tokenize_conversation(long, chat_tokenizer(), max_length=None).response_tokens
