"""Ways to finetune: the plain one, and defences that change the training instead of the data."""

from __future__ import annotations

from gradshield.benchmark.training_methods.base import TrainingMethod
from gradshield.benchmark.training_methods.lisa import Lisa
from gradshield.benchmark.training_methods.plain import Plain
from gradshield.benchmark.training_methods.safe_instruct import SafeInstruct

__all__ = ["TRAINING_METHODS", "TrainingMethod"]

_METHODS: tuple[TrainingMethod, ...] = (Plain(), SafeInstruct(), Lisa())
TRAINING_METHODS: dict[str, TrainingMethod] = {one.name: one for one in _METHODS}
"""By name, in the order in which tables show them."""
