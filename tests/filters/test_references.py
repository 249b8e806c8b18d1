from __future__ import annotations

from dataclasses import replace

import pytest

from gradshield.filters.references import compliant_references, paired_references
from tests.filters.tiny_rows import tiny_material


def test_pairs_stay_pairs_when_only_some_are_taken() -> None:
    material = tiny_material()
    compliant, refused = paired_references(material, "mine", 2)
    assert compliant == [material.harmful[0].example, material.harmful[1].example]
    assert refused == [material.refused[0].example, material.refused[1].example]
    assert compliant_references(material, "mine", 100) == [row.example for row in material.harmful]


def test_missing_references_are_named() -> None:
    material = tiny_material()
    with pytest.raises(ValueError, match="mine needs compliant answers to harmful prompts"):
        compliant_references(replace(material, harmful=()), "mine", 100)
    for refused in ((), material.refused[:2], tuple(reversed(material.refused))):
        with pytest.raises(ValueError, match="mine needs refusals of harmful prompts"):
            paired_references(replace(material, refused=refused), "mine", 100)
