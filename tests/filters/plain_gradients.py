"""Gradients of one example the textbook way: all logits, labels shifted, one `backward`."""

from __future__ import annotations

import torch

from gradshield.data.tokenization import TokenizedExample
from gradshield.models.layers import block_weights
from gradshield.models.load import LoadedModel
from tests.tiny_models import full_logits_loss


def plain_gradient(loaded: LoadedModel, example: TokenizedExample) -> torch.Tensor:
    """Gradient of the mean loss by all block weights, in double precision [weights]."""
    weights = [weight.tensor for weight in block_weights(loaded.model).values()]
    gradients = torch.autograd.grad(full_logits_loss(loaded.model, example), weights)
    return torch.cat([gradient.flatten() for gradient in gradients]).double()
