"""What training on harmless rows moves, taken out of directions, some layers at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from gradshield.bounds import machine_memory
from gradshield.data.tokenization import TokenizedExample
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import (
    Direction,
    orthogonal_part,
    training_direction,
    what_is_left,
)
from gradshield.probes.harmless_rows import harmless_rows, opening_rows
from gradshield.progress import Progress

GROUP_ROWS = 12
"""Harmless rows, of like wording or kind, of which the mean gradient is taken out together."""
SHARE_OF_MEMORY = 0.25
"""Of the machine's memory, for the gradients of all groups by the layers that are cleaned at once.

Beside them stand a copy of those by one layer, the model, and the directions.
"""


def without_harmless_training(
    loaded: LoadedModel,
    directions: Sequence[Direction],
    progress: Progress,
    *,
    most_bytes: int | None = None,
) -> list[Direction]:
    """Take out of directions, layer by layer, what training on packaged harmless rows spans.

    The gradients of all groups of rows are needed at once, but by one layer only: layers are
    cleaned as many at a time as fit into memory, each time with a pass over the rows. What is left
    does not depend on how many.

    Args:
        loaded: The aligned model.
        directions: Of the same layers, at least one.
        progress: Told how far it is.
        most_bytes: For the gradients; None takes a quarter of the machine's memory.

    Returns:
        The directions in their order, see `what_is_left`.

    Raises:
        UserError: Nothing is left of a direction.
    """
    groups = harmless_groups(loaded)
    sizes = {name: tensor.nbytes for name, tensor in directions[0].tensors.items()}
    memory = int(SHARE_OF_MEMORY * machine_memory()) if most_bytes is None else most_bytes
    parts = parts_within(sizes, memory // len(groups))
    left: list[dict[str, Tensor]] = [{} for _ in directions]
    rows = sum(map(len, groups)) * len(parts)
    with progress.track("Gradient on harmless rows", rows, "rows") as advance:
        for names in parts:
            gradients = [
                training_direction(loaded.model, group, names=names, progress=advance)
                for group in groups
            ]
            for direction, tensors in zip(directions, left, strict=True):
                for name in names:
                    others = [gradient[name] for gradient in gradients]
                    tensors[name] = orthogonal_part(direction.tensors[name], others)
    return [
        what_is_left(direction, tensors)
        for direction, tensors in zip(directions, left, strict=True)
    ]


def harmless_groups(loaded: LoadedModel) -> list[list[TokenizedExample]]:
    """The packaged harmless rows, those of like wording or kind together."""
    tokenizer = loaded.tokenizer
    rows = [
        *opening_rows(tokenizer),
        *(row.example for row in harmless_rows(tokenizer, "probe")),
    ]
    return [rows[start : start + GROUP_ROWS] for start in range(0, len(rows), GROUP_ROWS)]


def parts_within(sizes: Mapping[str, int], most: int) -> list[list[str]]:
    """Names in their order, cut into as few parts as have at most such a size together.

    What is larger by itself is a part of its own.
    """
    parts: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not parts or size > room:
            parts.append([])
            room = most
        parts[-1].append(name)
        room -= size
    return parts
