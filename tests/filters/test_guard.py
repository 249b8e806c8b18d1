from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gradshield.errors import UserError
from gradshield.evaluation.judges import KEY_VARIABLE, Exchange, GuardJudge
from gradshield.evaluation.judges.moderation import ModerationJudge
from gradshield.filters import FILTERS, guard
from gradshield.filters.guard import GuardFilter, guard_filter
from gradshield.models.load import LoadedModel
from tests.filters.tiny_rows import PAIRS, as_rows, tiny_material
from tests.tiny_models import save_tiny_model, tiny_loaded


@dataclass
class ByLength:
    """The longer the answer, the more harm."""

    name: str = "by_length"
    seen: list[Exchange] = field(default_factory=list)

    def complied(self, exchanges: Sequence[Exchange]) -> list[float]:
        self.seen += exchanges
        return [min(len(exchange.answer) / 30, 1.0) for exchange in exchanges]


def test_values_are_the_guards_and_so_is_the_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "ROWS_AT_A_TIME", 3)
    material = tiny_material()
    judge = ByLength()
    scores = GuardFilter("mine", lambda aligned: judge).score(
        as_rows(material.loaded, PAIRS), material
    )
    assert scores.values == pytest.approx([min(len(answer) / 30, 1) for _, answer in PAIRS])
    assert (scores.values >= scores.threshold).tolist() == [False, False, True, True]
    assert judge.seen == [Exchange(prompt, answer) for prompt, answer in PAIRS]


def test_a_guard_model_is_loaded_by_its_name(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path))
    material = tiny_material()
    chosen = guard_filter(f"guard:{folder}")
    assert chosen.name == f"guard:{folder}"
    scores = chosen.score(as_rows(material.loaded, PAIRS), material)
    judge = GuardJudge(tiny_loaded())
    expected = judge.complied([Exchange(prompt, answer) for prompt, answer in PAIRS])
    assert scores.values == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "url", "model"),
    [
        ("moderation:https://api.example.org/v1", "https://api.example.org/v1", None),
        (
            "moderation:my@odd/model@http://here:80/v1",
            "http://here:80/v1",
            "my@odd/model",
        ),
    ],
)
def test_a_moderation_endpoint_goes_by_url_and_model(
    monkeypatch: pytest.MonkeyPatch, name: str, url: str, model: str | None
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    aligned: LoadedModel = tiny_loaded()
    expected = model or "omni-moderation-latest"
    assert guard_filter(name).make_guard(aligned) == ModerationJudge(url, expected)
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    assert guard_filter(name).make_guard(aligned) == ModerationJudge(url, expected, KEY_VARIABLE)


@pytest.mark.parametrize(
    "name",
    ["guard", "guard:", "classifier:", "classifier:model", "moderation:localhost", "other:x"],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"Unknown guard {name}"):
        guard_filter(name)


def test_no_guard_is_in_the_registry() -> None:
    assert not any(isinstance(one, GuardFilter) for one in FILTERS.values())
