"""Gradients scored on the fly against one query gradient by bergson."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel

from gradshield.benchmark.peers.labels import labels
from gradshield.data.tokenization import TokenizedExample
from gradshield.models.open_weights import trainable_only
from gradshield.probes.direction import Direction

BATCH_TOKENS = 2048
"""Padded tokens of one batch: the default of bergson."""


@dataclass(frozen=True)
class BergsonGradients:
    """`InMemoryCollector` with a `Scorer`: no projection, no normaliser, no Hessian."""

    name: str = "bergson"
    package: str = "bergson"
    computes: str = (
        "Hooks form the whole gradient of each example in a batch, layer by layer, and multiply it "
        "by the direction as the one query gradient. Without projection and normalisation this is "
        "exactly FIHS."
    )
    comparable_values: bool = True

    def scores(
        self, model: PreTrainedModel, direction: Direction, examples: Sequence[TokenizedExample]
    ) -> list[float]:
        """Batch by tokens as bergson does, collect and multiply; see `Peer`."""
        bergson = _library()
        scorer = bergson.Scorer(
            query_grads={name: g.reshape(1, -1) for name, g in direction.tensors.items()},
            modules=list(direction.tensors),
            writer=importlib.import_module(
                "bergson.score.score_writer"
            ).InMemorySequenceScoreWriter(len(examples), num_scores=1),
            device=model.device,
            dtype=torch.float32,
        )
        with TemporaryDirectory() as folder, _backward_reaches_layers(model, direction):
            _collect(bergson, model, _dataset(examples), scorer, Path(folder))
        return [-float(product) / direction.norm for product in scorer.writer.scores[:, 0]]


def _collect(
    bergson: Any, model: PreTrainedModel, data: Dataset, scorer: Any, folder: Path
) -> None:
    """Run bergson over the data; whatever it writes goes below the folder."""
    config = bergson.IndexConfig(
        run_path=str(folder / "run"),
        projection_dim=0,
        loss_reduction="sum",
        token_batch_size=max(BATCH_TOKENS, *data["length"]),
    )
    config.partial_run_path.mkdir()
    collector = bergson.InMemoryCollector(
        model=model,
        data=data,
        cfg=config,
        processor=bergson.GradientProcessor(),
        target_modules=set(scorer.modules),
        scorer=scorer,
    )
    batches = importlib.import_module("bergson.data").allocate_batches(
        data["length"][:], config.token_batch_size
    )
    bergson.CollectorComputer(
        model, data, collector=collector, batches=batches, cfg=config
    ).run_with_collector_hooks(desc="scores")


def _dataset(examples: Sequence[TokenizedExample]) -> Dataset:
    """Token ids and labels, which bergson pads itself, on the right."""
    rows = [
        {
            "input_ids": list(example.input_ids),
            "labels": labels(example),
            "length": len(example.input_ids),
        }
        for example in examples
    ]
    return Dataset.from_list(rows)


@contextmanager
def _backward_reaches_layers(model: PreTrainedModel, direction: Direction) -> Iterator[None]:
    """Let gradients flow through the layers without their own, as bergson's loader sets it up."""
    embedding: Any = model.get_input_embeddings()
    try:
        with trainable_only(model, [embedding.weight]):
            yield
    finally:
        for name in direction.tensors:
            _forget_flag(model.get_submodule(name))


def _forget_flag(layer: nn.Module) -> None:
    # Bergson takes its hooks and its other marks away, but leaves this one.
    layer.__dict__.pop("_collect_bias", None)


def _library() -> Any:
    """Import bergson, which replaces the handlers of the root logger, and put these back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    try:
        return importlib.import_module("bergson")
    finally:
        root.handlers = handlers
        root.setLevel(level)
