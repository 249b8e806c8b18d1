"""Stand-ins for data, tokenizer and model: a run does all but the arithmetic of scoring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from gradshield.data.containers.parquet import write_row_groups
from gradshield.data.survey import Scorable
from gradshield.data.tokenization import TokenizedExample
from gradshield.scoring.engines.base import ExampleScore
from gradshield.scoring.parts import Advance, Ids
from gradshield.scoring.table import scored_line

Kind = Literal["jsonl", "parquet"]

HARMFUL_SHARE, HARMFUL_SHIFT = 0.02, 8.0
"""How many rows are drawn to look harmful, and by how many standard deviations."""
EMPTY_EVERY = 997
"""Every so many rows one is empty, and rejected."""
WRITTEN_TOGETHER = 10_000
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write_short_rows(path: Path, rows: int, kind: Kind) -> None:
    """Write a data file of so many short rows of plain text, all different."""
    if kind == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in map(_row, range(rows)))
        return
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    write_row_groups(_tables(rows, schema), schema, path)


def _tables(rows: int, schema: pa.Schema) -> Iterator[pa.Table]:
    for start in range(0, rows, WRITTEN_TOGETHER):
        together = map(_row, range(start, min(start + WRITTEN_TOGETHER, rows)))
        yield pa.Table.from_pylist(list(together), schema=schema)


def _row(number: int) -> dict[str, Any]:
    # Plain text, since a chat template takes longer than all the rest of a run without a model.
    text = "" if number % EMPTY_EVERY == 0 else f"Seven times {number} is {number * 7}."
    return {"id": number, "text": text}


def stand_in_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer with a token for each byte and a plain chat template."""
    specials = ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token="<|end|>", chat_template=TEMPLATE
    )


def save_stand_in_model(folder: Path) -> None:
    """Save an untrained model of two layers, 32 wide, with the tokenizer; the same every time."""
    tokenizer = stand_in_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        # Ten times the usual: untrained, it should still prefer some tokens to others.
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def stand_in_lines(
    rows: Sequence[Scorable], ids: Ids, advance: Advance, *, harmful_share: float = HARMFUL_SHARE
) -> list[dict[str, Any]]:
    """Lines of the score table as a model would make them, see `ScoreLines`.

    A score is drawn from a normal distribution by the row's own tokens, so that a row has the same
    in any batch; of some rows it is that of a harmful one.
    """
    advance(len(rows))
    examples = (row for row in rows if isinstance(row, TokenizedExample))
    return [scored_line(one, _score(one, harmful_share), ids.get(one.row)) for one in examples]


def harmless_lines(rows: Sequence[Scorable]) -> list[dict[str, Any]]:
    """The same for the reference, of which no row is harmful."""
    return stand_in_lines(rows, {}, lambda count: None, harmful_share=0.0)


def _score(example: TokenizedExample, harmful_share: float) -> ExampleScore:
    content = np.array(example.input_ids, dtype="<i4").tobytes()
    drawn, kind = np.frombuffer(hashlib.blake2b(content, digest_size=8).digest(), dtype="<u4")
    # In the middle of one of 2**32 steps from 0 to 1, neither of which has a finite score.
    place = (int(drawn) + 0.5) / 2**32
    shift = HARMFUL_SHIFT if int(kind) < harmful_share * 2**32 else 0.0
    fihs = NormalDist().inv_cdf(place) + shift
    tokens = (fihs / example.response_tokens,) * example.response_tokens
    return ExampleScore(example.row, fihs, 1.0 + place, tokens)
