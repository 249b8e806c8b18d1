"""Telling that memory ran out, whichever library says so and wherever the memory is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gradshield.errors import UserError

# torch has no exception of its own for the memory of the CPU, nor for that of some accelerators.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory")


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether an exception says that memory could not be had."""
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(fault).lower()
    return isinstance(fault, RuntimeError) and any(sign in text for sign in _SIGNS)


@contextmanager
def fits_into_memory(what: str, device: Any, mend: str) -> Iterator[None]:
    """Say in one line that `what` did not fit into the memory of a device.

    Raises:
        UserError: Memory ran out in the block; `mend` says what to do.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as fault:
        if not is_out_of_memory(fault):
            raise
        raise UserError(f"{what} does not fit into the memory of {device}: {mend}.") from fault
