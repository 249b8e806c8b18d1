from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from transformers import PreTrainedModel

from gradshield.benchmark.peers import PEERS
from gradshield.benchmark.peers.traker_projection import TrakerProjection
from gradshield.probes.direction import Direction
from gradshield.scoring.engines.per_example import PerExample, example_gradient
from tests.tiny_models import mixed_examples, random_direction, same_weights, snapshot, tiny_llama

PACKAGES = {"traker": "trak"}
"""Names to import, where they are not the peer's name."""
EXACT = [name for name, peer in PEERS.items() if peer.comparable_values]


def peer_named(name: str) -> Any:
    # Not `importorskip`: bergson, when imported, takes the handlers of pytest's log away.
    if find_spec(PACKAGES.get(name, name)) is None:
        pytest.skip(f"{PEERS[name].package} is not installed")
    return PEERS[name]


def oracle(model: PreTrainedModel, direction: Direction) -> list[float]:
    prepared = PerExample(tokens=False).prepare(model, direction, "sum", [])
    return [score.fihs for score in prepared.score(mixed_examples())]


def real_direction(model: PreTrainedModel) -> Direction:
    """The gradient of an example: nearly at right angles to a random one, no projection ranks."""
    names = list(random_direction(model).tensors)
    gradients, _ = example_gradient(model, names, mixed_examples()[3], "sum")
    return Direction(dict(zip(names, gradients, strict=True)), {"proxy": "example"})


def error(estimates: Sequence[float], truth: Sequence[float]) -> float:
    return float((torch.tensor(estimates) - torch.tensor(truth)).norm())


def traces(model: PreTrainedModel) -> dict[str, Any]:
    """What a library may leave behind on a model."""
    modules = {
        name: (
            type(module),
            sorted(vars(module)),
            len(module._forward_hooks) + len(module._backward_hooks),
            len(module._forward_pre_hooks) + len(module._backward_pre_hooks),
            module.training,
        )
        for name, module in model.named_modules()
    }
    parameters = {
        name: (parameter.requires_grad, parameter.grad)
        for name, parameter in model.named_parameters()
    }
    return modules | parameters


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_peer_agrees_with_the_oracle(name: str) -> None:
    model = tiny_llama()
    direction = random_direction(model)
    found = peer_named(name).scores(model, direction, mixed_examples())
    assert found == pytest.approx(oracle(model, direction), rel=1e-3)


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_peer_takes_the_weights_of_the_direction_alone(name: str) -> None:
    model = tiny_llama()
    everything = random_direction(model)
    chosen = {name: g for name, g in everything.tensors.items() if "layers.1.mlp" in name}
    direction = Direction(chosen, {})
    found = peer_named(name).scores(model, direction, mixed_examples())
    assert found == pytest.approx(oracle(model, direction), rel=1e-3)


@pytest.mark.parametrize("name", EXACT)
def test_an_exact_peer_leaves_biases_out(name: str) -> None:
    model = tiny_llama()
    projection: Any = model.get_submodule("model.layers.0.self_attn.q_proj")
    projection.bias = nn.Parameter(torch.linspace(-1, 1, projection.out_features))
    direction = random_direction(model)
    found = peer_named(name).scores(model, direction, mixed_examples())
    assert found == pytest.approx(oracle(model, direction), rel=1e-3)


def test_projected_scores_rank_like_the_oracle_in_many_dimensions() -> None:
    peer_named("traker")
    model = tiny_llama()
    direction = real_direction(model)
    found = TrakerProjection(dimension=1024).scores(model, direction, mixed_examples())
    assert spearmanr(found, oracle(model, direction)).statistic > 0.8


def test_projected_scores_get_better_with_dimensions() -> None:
    peer_named("traker")
    model = tiny_llama()
    direction = real_direction(model)
    truth = oracle(model, direction)
    few, many = (
        error(
            TrakerProjection(dimension=dimension).scores(model, direction, mixed_examples()), truth
        )
        for dimension in (16, 1024)
    )
    # The square root of 64 is 8; chance is given some room.
    assert many < few / 3


def test_projected_scores_are_right_on_average() -> None:
    peer_named("traker")
    model = tiny_llama()
    direction = real_direction(model)
    truth = oracle(model, direction)
    runs = torch.tensor(
        [
            TrakerProjection(seed=seed).scores(model, direction, mixed_examples())
            for seed in range(60)
        ]
    )
    standard_errors = runs.std(0) / len(runs) ** 0.5
    assert ((runs.mean(0) - torch.tensor(truth)).abs() < 4 * standard_errors).all()


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_leaves_the_model_as_it_was(name: str) -> None:
    peer = peer_named(name)
    model = tiny_llama()
    before, traces_before = snapshot(model), traces(model)
    peer.scores(model, random_direction(model), mixed_examples())
    assert same_weights(model, before)
    assert traces(model) == traces_before


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_scores_in_the_order_given_and_a_single_example_too(name: str) -> None:
    peer = peer_named(name)
    model = tiny_llama()
    direction = random_direction(model)
    examples = mixed_examples()
    forwards = peer.scores(model, direction, examples)
    assert peer.scores(model, direction, examples[::-1])[::-1] == pytest.approx(forwards, rel=1e-3)
    assert peer.scores(model, direction, examples[:1]) == pytest.approx(forwards[:1], rel=1e-3)


def test_bergson_does_not_take_over_the_log() -> None:
    peer_named("bergson")
    program = """
import logging
from gradshield.benchmark.peers.bergson_gradients import _library
root = logging.getLogger()
root.handlers, root.level = [logging.NullHandler()], logging.ERROR
before = list(root.handlers)
_library()
assert (root.handlers, root.level) == (before, logging.ERROR)
"""
    # Bergson does it once in a process, at its first import.
    subprocess.run([sys.executable, "-c", program], check=True)


def test_peers_are_registered_under_their_names() -> None:
    assert {name: peer.name for name, peer in PEERS.items()} == {name: name for name in PEERS}
