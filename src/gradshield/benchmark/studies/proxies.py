"""Which direction tells harmful from harmless rows best? On public rows and on the demo data.

One backward pass per row serves all variants: its gradient is multiplied with every direction,
layer by layer, and any proxy, choice of modules, part taken out and reduction is a weighted sum of
these products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from gradshield.benchmark.demo_labels import Label, area_under_curve, read_labels
from gradshield.benchmark.public_data import labelled_rows
from gradshield.benchmark.result import StudyResult
from gradshield.benchmark.studies.demo import DATA, LABELS
from gradshield.data import TokenizedExample, load_examples
from gradshield.data.tokenization import tokenize_conversation
from gradshield.models.layers import block_number, block_weights
from gradshield.models.likelihood import response_token_losses
from gradshield.models.load import DEFAULT_MODEL, LoadedModel, load_model
from gradshield.models.open_weights import differentiable_weights
from gradshield.probes.calibration import TakeOut, answer_probes, harmless_training, probes
from gradshield.probes.direction import proxy_gradient
from gradshield.probes.proxies import PROXIES
from gradshield.progress import Progress
from gradshield.scoring.engines.base import Reduction, divisor

MAX_LENGTH = 300
LOST = 0.05
"""Share of harmless rows lost at which the share of explicit rows found is given."""
Floats = np.ndarray[Any, np.dtype[np.float64]]
Directions = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Products:
    """Scalar products that every variant is made of.

    Attributes:
        names: Of the directions: `contrast harmful`, `contrast ordinary`, ..., `harmless 0`, ...
        layers: Names of the layers.
        rows: -<grad of the mean loss, direction> by row, direction and layer.
        gram: <direction, direction> by direction, direction and layer.
    """

    names: list[str]
    layers: list[str]
    rows: Floats
    gram: Floats


def run(public_data: Path, progress: Progress) -> StudyResult:
    """AUROC and share found, for every proxy, choice of modules, part taken out and reduction."""
    loaded = load_model(DEFAULT_MODEL, say=progress.say)
    examples, labels = _labelled_examples(loaded, public_data)
    directions = _directions(loaded, progress)
    with progress.track("Gradients of rows", len(examples), "rows") as advance:
        products = row_products(loaded, directions, examples, advance)
    lengths = np.array([example.response_tokens for example in examples])
    lines = []
    for proxy in PROXIES:
        for modules, chosen in _module_choices(products.layers).items():
            for take_out in get_args(TakeOut):
                means = mean_scores(products, proxy, take_out, chosen)
                for reduction in get_args(Reduction):
                    divisors = [divisor(reduction, length) for length in lengths]
                    scores = means * lengths / divisors
                    variant = {"proxy": proxy, "modules": modules, "take_out": take_out}
                    lines.append({**variant, "reduction": reduction, **_figures(scores, labels)})
    return StudyResult(sorted(lines, key=lambda line: -line["public_explicit"]), [])


def _labelled_examples(
    loaded: LoadedModel, public_data: Path
) -> tuple[list[TokenizedExample], dict[str, list[Label]]]:
    """Public rows and then those of the demo, with the labels of both."""
    public = labelled_rows(public_data)
    examples = [
        tokenize_conversation(conversation, loaded.tokenizer, row=row, max_length=MAX_LENGTH)
        for row, (_, conversation) in enumerate(public)
    ]
    examples += load_examples(DATA, loaded.tokenizer, max_length=MAX_LENGTH).examples
    return examples, {"public": [label for label, _ in public], "demo": read_labels(LABELS)}


def _directions(loaded: LoadedModel, progress: Progress) -> Directions:
    """Every proxy on both probe sets, and training on each group of harmless rows; late half."""
    modules = _late_half(list(block_weights(loaded.model)))
    answers = answer_probes(loaded, progress)
    found: Directions = {}
    for name, make in PROXIES.items():
        proxy = make(loaded.tokenizer, answers)
        for prompt_set in ("harmful", "ordinary"):
            texts = [prompt.text for prompt in probes(prompt_set)]
            with progress.track(f"{name} on {prompt_set}", len(texts), "prompts") as advance:
                found[f"{name} {prompt_set}"] = proxy_gradient(
                    loaded.model, loaded.tokenizer, proxy, texts, modules=modules, progress=advance
                ).tensors
    groups = harmless_training(loaded, modules, progress)
    return found | {f"harmless {number}": group for number, group in enumerate(groups)}


def _late_half(layers: Sequence[str]) -> str:
    """A pattern of all linear layers in the last half of the blocks."""
    blocks = {block_number(name) for name in layers}
    late = "|".join(str(block) for block in sorted(blocks) if 2 * block >= len(blocks))
    return rf"\.({late})\."


def row_products(
    loaded: LoadedModel,
    directions: Mapping[str, Mapping[str, Tensor]],
    examples: Sequence[TokenizedExample],
    advance: Callable[[int], None],
) -> Products:
    """Multiply the gradient of every row with every direction, and the directions with each other.

    Args:
        loaded: The model.
        directions: By name, tensors by layer; all of the same layers.
        examples: Rows, taken with the mean over their response tokens.
        advance: Called after each row.
    """
    names = list(directions)
    layers = list(directions[names[0]])
    stacked = [torch.stack([directions[n][layer].flatten() for n in names]) for layer in layers]
    rows = np.zeros((len(examples), len(names), len(layers)))
    with differentiable_weights(loaded.model, layers) as weights:
        for row, example in enumerate(examples):
            loss = response_token_losses(loaded.model, [example])[0].mean()
            gradients = torch.autograd.grad(loss, weights)
            for layer, gradient in enumerate(gradients):
                rows[row, :, layer] = -(stacked[layer] @ gradient.flatten()).numpy()
            advance(1)
    gram = np.stack([(part @ part.T).double().numpy() for part in stacked], axis=2)
    return Products(names, layers, rows, gram)


def mean_scores(products: Products, proxy: str, take_out: TakeOut, chosen: Sequence[int]) -> Floats:
    """FIHS of every row with the mean loss, not per unit direction, over the chosen layers."""
    prefix = {"nothing": None, "benign": f"{proxy} ordinary", "harmless": "harmless"}[take_out]
    harmful = products.names.index(f"{proxy} harmful")
    others = [
        index
        for index, name in enumerate(products.names)
        if prefix is not None and name.startswith(prefix)
    ]
    scores = np.zeros(len(products.rows))
    for layer in chosen:
        gram = products.gram[:, :, layer]
        lengths = np.sqrt(np.diag(gram)[others])
        unit = gram[np.ix_(others, others)] / np.outer(lengths, lengths)
        weights = np.linalg.pinv(unit, rcond=1e-6, hermitian=True) @ (
            gram[others, harmful] / lengths
        )
        rows = products.rows[:, :, layer]
        scores += rows[:, harmful] - (rows[:, others] / lengths) @ weights
    return scores


def _module_choices(layers: Sequence[str]) -> dict[str, list[int]]:
    """Indices of layers by choice of modules; the layers are those of the last half."""
    blocks = [block_number(name) for name in layers]
    third = 2 * (max(blocks) + 1) / 3
    choices: dict[str, Callable[[int], bool]] = {
        "last half": lambda index: True,
        "last half, mlp": lambda index: "mlp" in layers[index],
        "last half, attention": lambda index: "attn" in layers[index],
        "last third": lambda index: blocks[index] >= third,
        "last third, mlp": lambda index: blocks[index] >= third and "mlp" in layers[index],
    }
    return {
        name: [index for index in range(len(layers)) if choose(index)]
        for name, choose in choices.items()
    }


def _figures(scores: Floats, labels: Mapping[str, Sequence[Label]]) -> dict[str, float]:
    """AUROC of all and of explicit harmful rows, and explicit rows found, on both data sets."""
    figures = {}
    start = 0
    for data, truth in labels.items():
        part = dict(enumerate(scores[start : start + len(truth)].tolist()))
        start += len(truth)
        for kind in ("all", "explicit"):
            figures[f"{data}_{kind}"] = area_under_curve(part, truth, kind)
        harmless = [part[row] for row, label in enumerate(truth) if not label.harmful]
        explicit = [part[row] for row, label in enumerate(truth) if label.explicit]
        threshold = np.quantile(harmless, 1 - LOST)
        figures[f"{data}_found"] = float(np.mean(np.array(explicit) > threshold))
    return figures
