"""Running out of memory is told from other faults, and in one line."""

from __future__ import annotations

import pytest
import torch

from gradshield.errors import UserError
from gradshield.memory_faults import fits_into_memory, is_out_of_memory
from gradshield.probes import direction as direction_module
from gradshield.probes.direction import training_direction
from tests.tiny_models import mixed_examples, tiny_llama

CPU_TEXT = "[enforce fail at alloc_cpu.cpp:120] . DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize(
    "fault",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError(CPU_TEXT),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_memory_that_ran_out(fault: Exception) -> None:
    assert is_out_of_memory(fault)
    with (
        pytest.raises(UserError, match="The model does not fit into the memory of cpu: buy more"),
        fits_into_memory("The model", "cpu", "buy more"),
    ):
        raise fault


def test_the_cpus_own_words_are_known() -> None:
    """Two exabytes, which no machine has."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**61, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_other_faults_stay_what_they_are() -> None:
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="shapes"), fits_into_memory("x", "cpu", "y"):
        raise RuntimeError("shapes differ")


def test_a_gradient_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(direction_module, "response_token_losses", full)
    with pytest.raises(UserError, match=r"gradient .* memory of cpu: use --modules for fewer"):
        training_direction(tiny_llama(), mixed_examples()[:2])
