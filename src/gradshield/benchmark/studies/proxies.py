"""Which direction tells harmful from harmless rows best? Every variant on the demo data.

One backward pass per row serves all variants: its gradient is multiplied with every proxy's
direction, layer by layer, and any choice of modules, normalisation or benign part is a sum of
these products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradshield.benchmark.demo_labels import Label, area_under_curve, read_labels
from gradshield.benchmark.result import StudyResult
from gradshield.benchmark.studies.demo import DATA, LABELS
from gradshield.data import TokenizedExample, load_examples
from gradshield.models.layers import block_linear_layers, trainable_only
from gradshield.models.likelihood import response_token_losses
from gradshield.models.load import DEFAULT_MODEL, LoadedModel, load_model
from gradshield.probes.calibration import answer_probes, probes
from gradshield.probes.direction import Direction, proxy_gradient
from gradshield.probes.proxies import PROXIES
from gradshield.progress import Progress

Products = dict[tuple[str, str], np.ndarray[Any, Any]]
"""By (proxy, probe set): -<grad l, g> of every row and layer, [rows, layers]."""


def run(public_data: Path, progress: Progress) -> StudyResult:
    """AUROC by kind of harmful row for every proxy, choice of modules and variant."""
    loaded = load_model(DEFAULT_MODEL, say=progress.say)
    directions = _directions(loaded, progress)
    data = load_examples(DATA, loaded.tokenizer)
    labels = read_labels(LABELS)
    with progress.track("Gradients of rows", len(data.examples), "rows") as advance:
        products = layer_products(loaded, directions, data.examples, advance)
    layers = list(block_linear_layers(loaded.model))
    lines = []
    for proxy in PROXIES:
        for modules, chosen in _module_choices(layers).items():
            for variant, values in _variants(directions, products, proxy, layers, chosen).items():
                lines.append(
                    {
                        "proxy": proxy,
                        "modules": modules,
                        "variant": variant,
                        **_areas(values, data.examples, labels),
                    }
                )
    return StudyResult(sorted(lines, key=lambda line: -line["all"]), [])


def _directions(loaded: LoadedModel, progress: Progress) -> dict[tuple[str, str], Direction]:
    answers = answer_probes(loaded, progress)
    found = {}
    for name, make in PROXIES.items():
        proxy = make(loaded.tokenizer, answers)
        for prompt_set in ("harmful", "ordinary"):
            texts = [prompt.text for prompt in probes(prompt_set)]
            with progress.track(f"{name} on {prompt_set}", len(texts), "prompts") as advance:
                found[name, prompt_set] = proxy_gradient(
                    loaded.model, loaded.tokenizer, proxy, texts, progress=advance
                )
    return found


def layer_products(
    loaded: LoadedModel,
    directions: Mapping[tuple[str, str], Direction],
    examples: Sequence[TokenizedExample],
    advance: Callable[[int], None],
) -> Products:
    """-<grad l(z), g> by row and layer for every direction, not normalised."""
    weights = [layer.weight for layer in block_linear_layers(loaded.model).values()]
    products = {key: np.zeros((len(examples), len(weights))) for key in directions}
    with trainable_only(loaded.model, weights):
        for row, example in enumerate(examples):
            loss = response_token_losses(loaded.model, [example])[0].mean()
            gradients = torch.autograd.grad(loss, weights)
            for key, direction in directions.items():
                products[key][row] = [
                    -_dot(gradient, part)
                    for gradient, part in zip(gradients, direction.tensors.values(), strict=True)
                ]
            advance(1)
    return products


def _dot(one: Tensor, other: Tensor) -> float:
    return float(torch.dot(one.flatten(), other.flatten()))


def _module_choices(layers: Sequence[str]) -> dict[str, list[int]]:
    """Indices of layers by choice of modules."""
    block = [int(next(part for part in name.split(".") if part.isdigit())) for name in layers]
    third = (max(block) + 1) / 3
    choices: dict[str, Callable[[int], bool]] = {
        "all linear layers": lambda index: True,
        "attention": lambda index: "attn" in layers[index],
        "mlp": lambda index: "mlp" in layers[index],
        "first third": lambda index: block[index] < third,
        "middle third": lambda index: third <= block[index] < 2 * third,
        "last third": lambda index: block[index] >= 2 * third,
        "first two thirds": lambda index: block[index] < 2 * third,
    }
    return {
        name: [index for index in range(len(layers)) if choose(index)]
        for name, choose in choices.items()
    }


def _variants(
    directions: Mapping[tuple[str, str], Direction],
    products: Products,
    proxy: str,
    layers: Sequence[str],
    chosen: Sequence[int],
) -> dict[str, np.ndarray[Any, Any]]:
    """Scores of all rows: plain, with the benign part taken out, and per-module normalised."""
    harmful, ordinary = directions[proxy, "harmful"], directions[proxy, "ordinary"]
    names = [layers[index] for index in chosen]
    plain = products[proxy, "harmful"][:, chosen]
    benign = products[proxy, "ordinary"][:, chosen]
    pairs = [(harmful.tensors[name], ordinary.tensors[name]) for name in names]
    overlap = sum(_dot(one, other) for one, other in pairs)
    benign_square = sum(_dot(other, other) for _, other in pairs)
    lengths = np.array([math.sqrt(_dot(one, one)) for one, _ in pairs])
    return {
        "plain": plain.sum(axis=1),
        "benign part out": (plain - overlap / benign_square * benign).sum(axis=1),
        "normalised by module": (plain / lengths).sum(axis=1),
    }


def _areas(
    values: np.ndarray[Any, Any], examples: Sequence[TokenizedExample], labels: Sequence[Label]
) -> dict[str, float]:
    scores = {example.row: float(value) for example, value in zip(examples, values, strict=True)}
    kinds = ["all", "explicit", *sorted({label.kind for label in labels if label.harmful})]
    return {kind: area_under_curve(scores, labels, kind) for kind in kinds}
