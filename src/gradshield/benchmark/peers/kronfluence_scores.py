"""Pairwise scores of kronfluence without any Hessian."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from gradshield.benchmark.peers.labels import BATCH, padded, put_back, shortest_first, summed_loss
from gradshield.data.tokenization import TokenizedExample
from gradshield.models.open_weights import trainable_only
from gradshield.probes.direction import Direction


@dataclass(frozen=True)
class KronfluenceScores:
    """`Analyzer.compute_pairwise_scores` with the factor strategy `identity`."""

    name: str = "kronfluence"
    package: str = "kronfluence"
    computes: str = (
        "Hooks multiply the gradient of each example in a batch by that of one query, whose "
        "measurement <g, weights> has the direction g for its gradient. With the strategy "
        "`identity` no Hessian comes between, so this is exactly FIHS."
    )
    comparable_values: bool = True

    def scores(
        self, model: PreTrainedModel, direction: Direction, examples: Sequence[TokenizedExample]
    ) -> list[float]:
        """Wrap the layers, measure the query and score in order of length; see `Peer`."""
        order = shortest_first(examples)
        with TemporaryDirectory() as folder, _unwrapped_afterwards(model, direction.tensors):
            products = _pairwise_products(model, direction, examples, order, folder)
        return put_back((-products / direction.norm).tolist(), order)


def _pairwise_products(
    model: PreTrainedModel,
    direction: Direction,
    examples: Sequence[TokenizedExample],
    order: list[int],
    folder: str,
) -> Tensor:
    """<g, grad l(z)> of the examples in the given order."""
    analyzer_module = importlib.import_module("kronfluence.analyzer")
    task = _direction_task(direction)
    analyzer = analyzer_module.Analyzer(
        analysis_name="scores",
        model=analyzer_module.prepare_model(model, task),
        task=task,
        cpu=model.device.type == "cpu",
        disable_tqdm=True,
        output_dir=folder,
    )
    loader = analyzer_module.DataLoaderKwargs(collate_fn=padded)
    arguments = analyzer_module.FactorArguments(strategy="identity")
    analyzer.fit_all_factors("identity", examples, BATCH, factor_args=arguments)
    analyzer.compute_pairwise_scores(
        scores_name="scores",
        factors_name="identity",
        # The measurement depends on the weights alone, so any one example stands for the query.
        query_dataset=examples[:1],
        train_dataset=examples,
        per_device_query_batch_size=1,
        per_device_train_batch_size=BATCH,
        train_indices=order,
        dataloader_kwargs=loader,
    )
    products: Tensor = analyzer.load_pairwise_scores("scores")["all_modules"][0]
    return products


def _direction_task(direction: Direction) -> Any:
    base: Any = importlib.import_module("kronfluence.task").Task

    class DirectionTask(base):  # type: ignore[misc]
        """Trains on response tokens; its query measures the weights along the direction."""

        def compute_train_loss(
            self, batch: tuple[Tensor, Tensor], model: nn.Module, sample: bool = False
        ) -> Tensor:
            input_ids, targets = batch
            return summed_loss(model(input_ids=input_ids, use_cache=False).logits, targets)

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            parts = [_along(model.get_submodule(name), g) for name, g in direction.tensors.items()]
            return torch.stack(parts).sum()

        def get_influence_tracked_modules(self) -> list[str]:
            return list(direction.tensors)

    return DirectionTask()


def _along(layer: nn.Module, g: Tensor) -> Tensor:
    """<g, W> of a linear layer y = W x + b, through its forward pass, where the hooks are.

    Of unit vectors the layer makes the columns of W, plus b; of zero it makes b, which is
    subtracted, so that b has no gradient.
    """
    weight: Any = layer.weight
    units = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
    outputs = layer(functional.pad(units, (0, 0, 0, 1)).unsqueeze(0))[0]
    columns = outputs[:-1] - outputs[-1:]
    measured: Tensor = (columns.float() * g.T.to(columns.device)).sum()
    return measured


@contextmanager
def _unwrapped_afterwards(model: PreTrainedModel, names: Iterable[str]) -> Iterator[None]:
    """Put the layers that kronfluence replaces back, and the gradient flags that it clears."""
    layers = {name: model.get_submodule(name) for name in names}
    try:
        with trainable_only(model, []):
            yield
    finally:
        for name, layer in layers.items():
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, layer)
