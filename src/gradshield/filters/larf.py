"""LARF, layer-aware representation filtering: nearer to harmful answers than to refusals.

Li et al. 2025 (arXiv 2507.18631): at a layer that safety depends on, the cosine of a row's last
state with those of answered harmful prompts, less that with the same prompts refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics.pairwise import cosine_similarity
from transformers import PreTrainedModel

from gradshield.errors import UserError
from gradshield.evaluation.generation import generate_answers
from gradshield.evaluation.refusal import is_refusal
from gradshield.filters.base import Material, Need, Row, Scores, top_share
from gradshield.filters.references import paired_references
from gradshield.models.hidden_states import last_token, layer_count, pooled_states
from gradshield.models.layers import block_number, block_weights
from gradshield.models.load import LoadedModel
from gradshield.models.open_weights import has_quantised_layers, replaced_weights
from gradshield.probes.prompt_sets import load_prompts

PAIRS = 100
"""Harmful prompts, each answered and refused, as in the released code."""
DEPTH = 10 / 32
"""Share of the blocks below the layer: layer 10 of Llama-3.1-8B in the released README."""
SCALES = (0.7, 0.8, 0.9, 1.1, 1.2, 1.3)
"""What one block's matrices are multiplied by, one after the other, as in the released code."""
NEW_TOKENS = 32
"""Of each answer in which a refusal is looked for, as in the released code."""
REMOVED_SHARE = 0.2

LayerChoice = Callable[[Material], int]
"""Chooses the layer, a place in `hidden_states`."""


def published_depth(material: Material) -> int:
    """The layer at the depth that the authors found for Llama-3.1-8B; never the embedding."""
    return max(1, round(DEPTH * layer_count(material.loaded.model)))


@dataclass(frozen=True)
class Larf:
    """Rows that look answered rather than refused count as harmful.

    Attributes:
        choose_layer: By default the published depth, which costs nothing. What the paper does is
            `most_sensitive_layer`: it answers a set of prompts six times for each block, far more
            than scoring a data set costs.
    """

    choose_layer: LayerChoice = published_depth
    name: str = "larf"
    needs: frozenset[Need] = frozenset({Need.HARMFUL_ANSWERS, Need.REFUSALS})
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Mean over pairs of cos(row, answered) - cos(row, refused), in [-2, 2]; see `Filter`.

        The highest fifth is removed: the paper removes 1000 rows, whatever the size of the data
        set.
        """
        model = material.loaded.model
        answered, refused = paired_references(material, self.name, PAIRS)
        layers = [self.choose_layer(material)]
        with material.progress.track("Last states", len(rows), "rows") as advance:
            examples = [row.example for row in rows]
            states = pooled_states(model, examples, layers, last_token, advance)[:, 0]
        harmful, safe = (
            cosine_similarity(states, pooled_states(model, pairs, layers, last_token)[:, 0])
            for pairs in (answered, refused)
        )
        values = (harmful - safe).mean(axis=1, dtype=np.float64)
        return Scores(values, top_share(REMOVED_SHARE))


def most_sensitive_layer(material: Material, prompts: Sequence[str] | None = None) -> int:
    """The block whose scaling changes most how often harmless but scary prompts are refused.

    One block's matrices, of attention and MLP alike, are multiplied by each of `SCALES` in turn;
    the model answers the prompts greedily. How the paper sums up the six counts was not found:
    here it is by their absolute differences from the whole model's count. Of equal blocks the
    lowest is taken.

    Args:
        material: Holds the model, which is left as it was.
        prompts: Harmless prompts that sound harmful; the packaged ones of the split `probe` unless
            given. The paper takes 110.

    Returns:
        The layer that the block puts out. The released code reads what enters the block; at block
        0 that is the embedding of the last token, the same for all rows.

    Raises:
        UserError: No block makes a difference, or the model is quantised.
    """
    loaded = material.loaded
    if has_quantised_layers(loaded.model):
        raise UserError("The matrices of a quantised model cannot be scaled: name LARF's layer.")
    texts = prompts or [one.text for one in load_prompts("harmless_but_scary", "probe")]
    before = _refusals(loaded, texts)
    blocks = layer_count(loaded.model)
    changes = []
    with material.progress.track("Scaling blocks", blocks, "blocks") as advance:
        for block in range(blocks):
            changes.append(sum(abs(count - before) for count in _counts(loaded, block, texts)))
            advance(1)
    if not any(changes):
        raise UserError(
            f"Scaling any one block of {loaded.name} leaves its refusals of harmless prompts as "
            "they are: name LARF's layer, or give it more prompts."
        )
    return 1 + int(np.argmax(changes))


def _counts(loaded: LoadedModel, block: int, texts: Sequence[str]) -> Iterator[int]:
    """Refusals at each scale of one block."""
    for scale in SCALES:
        with scaled_block(loaded.model, block, scale):
            yield _refusals(loaded, texts)


def _refusals(loaded: LoadedModel, texts: Sequence[str]) -> int:
    answers = generate_answers(loaded.model, loaded.tokenizer, texts, max_new_tokens=NEW_TOKENS)
    return sum(is_refusal(answer.text) for answer in answers)


@contextmanager
def scaled_block(model: PreTrainedModel, block: int, scale: float) -> Iterator[None]:
    """Multiply all matrices of one block, counted from 0, and put them back afterwards."""
    named = block_weights(model).items()
    weights = [weight for name, weight in named if block_number(name) == block]
    with torch.no_grad():
        scaled = [weight.tensor * scale for weight in weights]
    with replaced_weights(weights, scaled):
        yield
