"""FIHS as a central difference of the loss along the direction: forward passes, no gradient.

FIHS(z) = -d/de l(z; theta_0 + e g/|g|) at e = 0, and the derivative is taken between
theta_0 - e g/|g| and theta_0 + e g/|g|. Both are computed in one walk over the model: below the
first weight of the direction they are the same and are computed once; from there on the batch
goes through in two versions, and only the moved layers are applied to each version by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.models.layers import Weight, split_blocks
from gradshield.models.likelihood import response_token_losses
from gradshield.models.open_weights import open_weights, replaced_forward, replaced_weights
from gradshield.probes.direction import Direction
from gradshield.probes.prompt_sets import spread
from gradshield.scoring.engines.base import (
    ExampleScore,
    PreparedEngine,
    Reduction,
    ScoreBatch,
    divisor,
)

Floats = np.ndarray[Any, np.dtype[np.float64]]

STEP = 0.4
"""First step in parameter length, in cube roots of the precision: 2e-3 in float32.

The rounding error of a central difference falls with the step, the error by curvature rises with
its square: the best step goes with the cube root of the precision."""
STEP_SAMPLE = 8
"""Examples on which the step is checked."""
GOOD_ERROR = 1e-3
"""Estimated error, relative to the root mean square of the sample, with which no better step is
looked for."""
MOST_ERROR = 1e-2
"""Estimated error above which the user is warned."""
MOST_STEPS = 4
"""Times that the step is halved or doubled in search of a better one."""


@dataclass(frozen=True)
class FiniteDifference:
    """Fast, and works with any attention kernel; needs float32 activations.

    Attributes:
        step: Length of the step in parameter space, or None to choose it on the sample.
    """

    step: float | None = None
    name: str = "finite_difference"

    def prepare(
        self,
        model: PreTrainedModel,
        direction: Direction,
        reduction: Reduction,
        sample: Sequence[TokenizedExample],
    ) -> PreparedEngine:
        """Choose the step; see `Engine`.

        Raises:
            UserError: The weights are in half precision, where the step would round away.
        """
        if model.dtype not in (torch.float32, torch.float64):
            raise UserError(
                f"The engine finite_difference needs float32 weights: in {model.dtype} the step "
                "along the direction rounds away. Use --dtype float32 or --engine jvp."
            )
        placed = direction.to(model.device)

        def scorer(step: float) -> ScoreBatch:
            return lambda batch: _score(model, placed, batch, step, reduction)

        if self.step is not None:
            note = f"step {self.step:g}, as given"
            return PreparedEngine(scorer(self.step), (note,), step=self.step)
        chosen = spread(sample, STEP_SAMPLE)

        @cache
        def scores(step: float) -> Floats:
            return np.array([score.fihs for score in scorer(step)(chosen)])

        step, error = choose_step(scores, STEP * torch.finfo(model.dtype).eps ** (1 / 3))
        note = f"step {step:.2g}, estimated error {error:.1e} of a typical score"
        return PreparedEngine(scorer(step), (note,), _warning(error), step)


def _warning(error: float) -> str | None:
    if error <= MOST_ERROR:
        return None
    return (
        f"The finite differences of this model and direction are off by some {error:.1%} of a "
        "typical score, whatever the step. Use --engine jvp, which has no step."
    )


def choose_step(scores: Callable[[float], Floats], first: float) -> tuple[float, float]:
    """The step at which a sample's scores depend on it least, and an estimate of their error.

    Compared are a step and twice the step: where curvature rules, the scores differ by three times
    the error of the smaller step, where rounding rules by about its error.

    Args:
        scores: Central differences of the sample for a step, [examples].
        first: The step to begin with.

    Returns:
        The step, and the error relative to the root mean square of the scores.
    """

    def error(step: float) -> float:
        near, far = scores(step), scores(2 * step)
        size = np.sqrt(np.mean(near**2))
        difference = np.sqrt(np.mean((near - far) ** 2))
        return float(difference / size) if size > 0 else float(difference > 0)

    best = first
    for factor in (2.0, 0.5):
        for _ in range(MOST_STEPS):
            if error(best) <= GOOD_ERROR or error(best * factor) >= error(best):
                break
            best *= factor
    return best, error(best)


def _score(
    model: PreTrainedModel,
    direction: Direction,
    batch: Sequence[TokenizedExample],
    step: float,
    reduction: Reduction,
) -> list[ExampleScore]:
    with torch.inference_mode(), moved_both_ways(model, direction, step):
        losses = [losses.double() for losses in response_token_losses(model, batch)]
    above, below = losses[: len(batch)], losses[len(batch) :]
    return [
        central_difference(example.row, high, low, step, reduction)
        for example, high, low in zip(batch, above, below, strict=True)
    ]


def central_difference(
    row: int, above: Tensor, below: Tensor, step: float, reduction: Reduction
) -> ExampleScore:
    """The score of an example from the losses of its response tokens on both sides of theta_0.

    Args:
        row: Position of the example in the input.
        above: Losses at theta_0 + step g/|g|, [response tokens], float64, in nats.
        below: Losses at theta_0 - step g/|g|, alike.
        step: Length of the step in parameter space.
        reduction: What l(z) is of the losses.
    """
    tokens = (below - above) / (2 * step * divisor(reduction, len(above)))
    return ExampleScore.of_tokens(row, tokens, float((above + below).mean() / 2), reduction)


@contextmanager
def moved_both_ways(model: PreTrainedModel, direction: Direction, step: float) -> Iterator[None]:
    """Let the model run each batch in two versions: theta_0 + step g/|g|, then - step g/|g|.

    No weight is changed: a layer's moved matrix lives while the layer is applied, so that beside
    the direction no more than the largest matrix is held.
    """
    alpha = step / direction.norm
    with ExitStack() as stack:
        weights = stack.enter_context(open_weights(model, direction.tensors))
        by_module: dict[int, list[tuple[Weight, Tensor]]] = {}
        for weight, part in zip(weights, direction.tensors.values(), strict=True):
            by_module.setdefault(id(weight.module), []).append((weight, part))
        for parts in by_module.values():
            module = parts[0][0].module
            stack.enter_context(replaced_forward(module, _each_version(module, parts, alpha)))
        for hook in _doubling(model, list(direction.tensors)):
            stack.callback(hook.remove)
        yield


def _each_version(
    module: Any, parts: Sequence[tuple[Weight, Tensor]], alpha: float
) -> Callable[..., Tensor]:
    """Apply a module to the first half of its inputs above theta_0, to the second half below."""
    apply = module.forward

    def forward(*inputs: Any) -> Tensor:
        halves = zip(*(value.chunk(2) for value in inputs), strict=True)
        outputs = []
        for half, sign in zip(halves, (1, -1), strict=True):
            moved = (torch.add(w.tensor, part, alpha=sign * alpha) for w, part in parts)
            with replaced_weights([weight for weight, _ in parts], moved):
                outputs.append(apply(*half))
        return torch.cat(outputs)

    return forward


def _doubling(model: PreTrainedModel, names: Sequence[str]) -> list[Any]:
    """Hooks that repeat a batch along its first dimension where the direction begins.

    That is the first block that holds one of its weights. A block is also given masks and
    positions of the batch, which are repeated for every block from there on.
    """
    base: nn.Module = model.base_model
    rows = 0

    def note_rows(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal rows
        rows = len(next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)))

    def double(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (
            tuple(_repeated(value, rows) for value in args),
            {name: _repeated(value, rows) for name, value in kwargs.items()},
        )

    places = split_blocks(model, names)[1] or [base]
    return [
        base.register_forward_pre_hook(note_rows, with_kwargs=True),
        *(place.register_forward_pre_hook(double, with_kwargs=True) for place in places),
    ]


def _repeated(value: Any, rows: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_repeated(part, rows) for part in value)
    # What is doubled already, and what all rows share, has another length.
    if isinstance(value, Tensor) and value.ndim > 1 and len(value) == rows:
        return torch.cat([value, value])
    return value
