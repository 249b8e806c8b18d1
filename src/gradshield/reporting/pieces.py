"""The text of each token, so that a page can shade it without the tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class TokenPieces:
    """Decodes tokens one by one; each token of the vocabulary once.

    `gradshield.data.preview` does the same for one example and decodes twice a token, which is too
    slow for all of a data set.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        # Behind another token, since some tokenizers drop a space in front of the first one.
        anchor = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._anchor = list(anchor)[-1:]
        self._anchor_text = self._decode(self._anchor)
        self._known: dict[int, str] = {}

    def of(self, tokens: Sequence[int]) -> list[str]:
        """One text a token. Together they are the decoded text.

        Where several tokens make one character, the last of them has it and the others have the
        empty text.
        """
        pieces: list[str] = []
        pending: list[int] = []
        for token in tokens:
            piece = self._alone(token)
            if pending or _INCOMPLETE in piece:
                pending.append(token)
                piece = self._behind_anchor(pending)
                if piece.endswith(_INCOMPLETE):
                    pieces.append("")
                    continue
                pending = []
            pieces.append(piece)
        if pending:
            pieces[-1] = self._behind_anchor(pending)
        return pieces

    def _alone(self, token: int) -> str:
        piece = self._known.get(token)
        if piece is None:
            piece = self._known[token] = self._behind_anchor([token])
        return piece

    def _behind_anchor(self, tokens: list[int]) -> str:
        whole = self._decode(self._anchor + tokens)
        if whole.startswith(self._anchor_text):
            return whole[len(self._anchor_text) :]
        return self._decode(tokens)

    def _decode(self, tokens: list[int]) -> str:
        options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        return str(self._tokenizer.decode(tokens, **options)) if tokens else ""
