"""Scoring engines by name."""

from transformers import PreTrainedModel

from gradshield.models.open_weights import has_quantised_layers
from gradshield.scoring.engines.adam import AdamPreconditioned
from gradshield.scoring.engines.base import Engine, ExampleScore, PreparedEngine
from gradshield.scoring.engines.finite_difference import FiniteDifference
from gradshield.scoring.engines.jvp import ForwardMode
from gradshield.scoring.engines.kernels import has_experts
from gradshield.scoring.engines.normalised import PerExampleNormalised
from gradshield.scoring.engines.per_example import PerExample

ENGINES: dict[str, Engine] = {
    "finite_difference": FiniteDifference(),
    "jvp": ForwardMode(),
    "per_example": PerExample(),
    "per_example_normalised": PerExampleNormalised(),
    "per_example_adam": AdamPreconditioned(),
}
"""The first three compute the same; the last two weigh an example's gradient before the product."""

LINEAR_ENGINES = ("finite_difference", "jvp", "per_example")
"""Those whose scores add up as gradients do."""


def default_engine(model: PreTrainedModel) -> tuple[str, str]:
    """The engine that suits a model, and why."""
    if has_quantised_layers(model):
        return "jvp", "rounding in quantised layers spoils a small step"
    if model.dtype.itemsize < 4:
        return "jvp", f"in {str(model.dtype).removeprefix('torch.')} a small step rounds away"
    if has_experts(model):
        return "jvp", "a step, however small, sends some tokens to other experts"
    return "finite_difference", "the fastest, and good in float32"


__all__ = [
    "ENGINES",
    "LINEAR_ENGINES",
    "Engine",
    "ExampleScore",
    "PreparedEngine",
    "default_engine",
]
