"""Prompts as the model reads them, and examples made of a prompt and a response."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from gradshield.data.conversation import Conversation, Message
from gradshield.data.rendering import apply_template
from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError, first_line


def prompt_token_ids(tokenizer: PreTrainedTokenizerBase, prompt: str | Conversation) -> list[int]:
    """Render a prompt with the chat template, ready for the model's answer.

    Args:
        tokenizer: With a chat template.
        prompt: One user turn; or the whole conversation before the answer.

    Raises:
        UserError: The template fails.
    """
    turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt.messages
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        rendered = apply_template(tokenizer, messages, tokenize=False, add_generation_prompt=True)
    # A template is a program: it may raise its own exception or fail in any other way.
    except Exception as fault:
        raise UserError(
            f"The tokenizer's chat template cannot print a prompt ({first_line(fault)}): set "
            "tokenizer.chat_template to one that can."
        ) from fault
    token_ids: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    return token_ids


def answered_prompt(
    tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str, row: int = 0
) -> TokenizedExample:
    """An example of one user prompt and its whole answer, the end-of-turn token included."""
    answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    prompt_ids = prompt_token_ids(tokenizer, prompt)
    return prompt_response_example(prompt_ids, [*answer_ids, tokenizer.eos_token_id], row)


def prompt_response_example(
    prompt_ids: Sequence[int], response_ids: Sequence[int], row: int = 0
) -> TokenizedExample:
    """An example whose response tokens are exactly the given ones."""
    return TokenizedExample(
        row=row,
        input_ids=(*prompt_ids, *response_ids),
        response_mask=(False,) * len(prompt_ids) + (True,) * len(response_ids),
        truncated=False,
    )
