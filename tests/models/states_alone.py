"""Hidden states the slow way: one example a forward pass, nothing padded."""

from __future__ import annotations

import numpy as np
import torch

from gradshield.data import TokenizedExample
from gradshield.models.load import LoadedModel


def states_alone(loaded: LoadedModel, example: TokenizedExample, layer: int) -> np.ndarray:
    """States of one layer, [tokens, hidden], by the whole model's own forward."""
    with torch.no_grad():
        output = loaded.model(
            input_ids=torch.tensor([example.input_ids]), output_hidden_states=True
        )
    states: np.ndarray = output.hidden_states[layer][0].numpy()
    return states


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))
