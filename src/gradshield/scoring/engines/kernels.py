"""Kernels that can be differentiated as an engine needs it, chosen in place of those that cannot.

Fused attention has no forward derivative and cannot be differentiated twice, nor can fused
products over experts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedModel

_REASON = "the fused ones have no forward derivative"


def kernel_notes(model: PreTrainedModel) -> tuple[str, ...]:
    """Which kernels `differentiable_kernels` puts in place of the model's, and why."""
    attention = model.config._attn_implementation
    notes = []
    if attention == "sdpa":
        notes.append(f"attention by the math kernel: {_REASON}")
    elif attention != "eager":
        notes.append(f"attention in eager mode instead of {attention}: {_REASON}")
    if _experts(model) not in (None, "eager"):
        notes.append(f"experts in eager mode instead of {_experts(model)}: {_REASON}")
    return tuple(notes)


@contextmanager
def differentiable_kernels(model: PreTrainedModel) -> Iterator[None]:
    """Run attention and experts by kernels with a forward and a second derivative."""
    attention, experts = model.config._attn_implementation, _experts(model)
    with ExitStack() as stack:
        # Also in eager mode, since a model may call the kernel itself.
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        if attention not in ("sdpa", "eager"):
            stack.callback(model.set_attn_implementation, attention)
            model.set_attn_implementation("eager")
        if experts not in (None, "eager"):
            stack.callback(model.set_experts_implementation, experts)
            model.set_experts_implementation("eager")
        yield


def has_experts(model: PreTrainedModel) -> bool:
    """Whether the model is a mixture of experts."""
    return any(hasattr(module, "experts") for module in model.modules())


def _experts(model: PreTrainedModel) -> Any:
    return getattr(model.config, "_experts_implementation", None) if has_experts(model) else None
