"""Reference rows that a filter compares with, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

from gradshield.data.tokenization import TokenizedExample
from gradshield.filters.base import Material, Need, Row
from gradshield.probes.prompt_sets import spread


def compliant_references(material: Material, user: str, most: int) -> list[TokenizedExample]:
    """Compliant answers to harmful prompts, at most `most` of them, spread over all.

    Args:
        material: What the filter was given.
        user: The filter's name, for the error.
        most: How many at most.

    Raises:
        ValueError: There are none.
    """
    if not material.harmful:
        need = Need.HARMFUL_ANSWERS.value
        raise ValueError(f"The filter {user} needs {need}: Material(harmful=...).")
    return [row.example for row in spread(material.harmful, most)]


def paired_references(
    material: Material, user: str, most: int
) -> tuple[list[TokenizedExample], list[TokenizedExample]]:
    """The same harmful prompts answered and refused, in the same order, at most `most`.

    Raises:
        ValueError: There are none, or the two do not hold the same prompts in the same order.
    """
    compliant = compliant_references(material, user, most)
    answered, refused = _prompts(material.harmful), _prompts(material.refused)
    if answered != refused:
        raise ValueError(
            f"The filter {user} needs {Need.REFUSALS.value}, the same as are answered and in the "
            "same order: Material(refused=...)."
        )
    return compliant, [row.example for row in spread(material.refused, most)]


def _prompts(rows: Sequence[Row]) -> list[list[str]]:
    """What users say in each row."""
    return [
        [message.content for message in row.conversation.messages if message.role == "user"]
        for row in rows
    ]
