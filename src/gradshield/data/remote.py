"""Reading rows in a process of their own, which needs a tokenizer and neither model nor torch."""

from __future__ import annotations

import pickle
import socket
from typing import TYPE_CHECKING

import pyarrow as pa

from gradshield.data.survey import RowsRead, Survey
from gradshield.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def read_remotely(batch: pa.Table, tokenizer: PreTrainedTokenizerBase) -> pa.Table:
    """Read and tokenise the rows of one part, in a task of Ray.

    Args:
        batch: One row with `part`, which is passed on, and `rows`: a range and its `Survey`.
        tokenizer: The model's.

    Returns:
        One row with `part` and `read`: what was read, or a text that says what is to be mended.
    """
    rows, survey = pickle.loads(batch["rows"][0].as_py())
    return pa.table({"part": batch["part"], "read": [pickle.dumps(_read(rows, survey, tokenizer))]})


def _read(rows: range, survey: Survey, tokenizer: PreTrainedTokenizerBase) -> RowsRead | str:
    try:
        return survey.read(rows, tokenizer)
    except (UserError, OSError) as fault:
        return on_this_node(fault)


def on_this_node(fault: Exception) -> str:
    """What is to be mended, and where."""
    return f"On the node {socket.gethostname()}: {fault}"
