"""FIHS of gradients that are made a unit long in each layer before the product.

Layers, and examples, then count alike however long their gradients are: without it short answers,
whose gradients are long, dominate (Xia et al. 2024, "LESS", section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.probes.direction import Direction
from gradshield.scoring.engines.base import ExampleScore, PreparedEngine, Reduction
from gradshield.scoring.engines.per_example import example_gradient, inner_product


class PerExampleNormalised:
    """-sum over layers of <grad l / |grad l|, g> / |g|; the reduction does not matter to it."""

    name = "per_example_normalised"

    def prepare(
        self,
        model: PreTrainedModel,
        direction: Direction,
        reduction: Reduction,
        sample: Sequence[TokenizedExample],
    ) -> PreparedEngine:
        """See `Engine`."""
        placed = direction.to(model.device)

        def score(batch: Sequence[TokenizedExample]) -> list[ExampleScore]:
            return [_score(model, placed, example, reduction) for example in batch]

        note = "each layer's gradient of an example is made a unit long: no derivative, a cosine"
        return PreparedEngine(score, (note,))


def _score(
    model: PreTrainedModel, direction: Direction, example: TokenizedExample, reduction: Reduction
) -> ExampleScore:
    gradients, loss = example_gradient(model, direction.tensors, example, reduction)
    units = (gradient / gradient.norm().clamp_min(1e-30) for gradient in gradients)
    product = float(inner_product(units, direction.tensors.values()))
    return ExampleScore(example.row, -product / direction.norm, loss)
