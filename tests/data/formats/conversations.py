"""Any conversation, as `hypothesis` draws it, and the rows that hold it in each format."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Exchange = tuple[str, str]
"""What the user asks, and the answer."""
Row = dict[str, Any]

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8
).filter(lambda text: text.strip())
"""Of any characters that have a UTF-8 form, with something to be seen in them."""
exchanges = st.lists(st.tuples(texts, texts), min_size=1, max_size=3)
systems = st.none() | texts


def spoken(said: list[Exchange], system: str | None) -> list[tuple[str, str]]:
    """Role and text of each turn."""
    turns = [] if system is None else [("system", system)]
    for question, answer in said:
        turns += [("user", question), ("assistant", answer)]
    return turns


def messages_row(said: list[Exchange], system: str | None) -> Row:
    return {"messages": [{"role": role, "content": text} for role, text in spoken(said, system)]}


def conversations_row(said: list[Exchange], system: str | None) -> Row:
    return {"conversations": messages_row(said, system)["messages"]}


def sharegpt_row(said: list[Exchange], system: str | None) -> Row:
    names = {"user": "human", "assistant": "gpt"}
    turns = [{"from": names[role], "value": text} for role, text in spoken(said, None)]
    return {"conversations": turns, "system": system}


def alpaca_row(said: list[Exchange], system: str | None) -> Row:
    *earlier, (question, answer) = said
    history = [list(exchange) for exchange in earlier]
    return {
        "instruction": question,
        "input": "",
        "output": answer,
        "system": system,
        "history": history,
    }


def prompt_completion_row(exchange: Exchange) -> Row:
    return {"prompt": exchange[0], "completion": exchange[1]}


def text_row(exchange: Exchange) -> Row:
    return {"text": exchange[1]}


def preference_row(exchange: Exchange) -> Row:
    return {"prompt": exchange[0], "chosen": exchange[1], "rejected": "No."}
