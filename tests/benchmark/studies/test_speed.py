from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradshield.benchmark.studies import speed
from gradshield.benchmark.studies.speed import Case, compare
from gradshield.models.load import LoadedModel
from gradshield.progress import Silent
from gradshield.reporting.charts import write_chart
from tests.tiny_models import mixed_examples, random_direction, tiny_loaded


@dataclass(frozen=True)
class OnePeer:
    """Gives row numbers for scores."""

    name: str = "one"
    package: str = "torch"
    computes: str = "row numbers"
    comparable_values: bool = True

    def scores(self, model: Any, direction: Any, examples: Any) -> list[float]:
        return [float(example.row) for example in examples]


def case() -> Case:
    loaded = tiny_loaded()
    return Case("tiny", loaded, random_direction(loaded.model), mixed_examples())


def test_engines_and_peers_are_ratios_to_the_plain_forward_and_compared_with_the_oracle() -> None:
    compared = case()
    missing = OnePeer(package="no-such-package")
    with pytest.warns(UserWarning, match="missing is not installed"):
        compare(compared, Silent(), {"one": OnePeer(), "missing": missing})
    by_method = {result["method"]: result for result in compared.results}
    assert list(by_method) == [
        "plain forward", "per_example", "jvp", "finite_difference", "one", "missing"
    ]  # fmt: skip
    assert by_method["plain forward"]["ratio_to_plain_forward"] == 1.0
    for method in ("per_example", "jvp", "finite_difference"):
        assert by_method[method]["seconds"] > 0
        assert by_method[method]["spearman"] > 0.99
        assert by_method[method]["bytes_of_direction"] == compared.direction_bytes
    assert by_method["per_example"]["relative_error"] == 0
    assert by_method["one"]["spearman"] < 0.99
    assert by_method["missing"]["skipped"] == "not installed"
    assert set(compared.tokens) == set(range(len(mixed_examples())))


def test_growth_is_fitted_through_the_origin() -> None:
    tokens = np.array([1.0, 2.0, 4.0])
    rows = [{"tokens": count, "seconds": 3 * count} for count in tokens]
    assert speed._linear(rows) == (pytest.approx(3.0), pytest.approx(1.0))
    bent = [{"tokens": count, "seconds": count**3} for count in tokens]
    assert speed._linear(bent)[1] < 0.95


def test_the_large_model_has_about_four_times_the_parameters() -> None:
    width, inner, layers = speed.LARGE_SHAPE.values()
    keys = (
        width * speed.LARGE_HEADS["num_key_value_heads"] // speed.LARGE_HEADS["num_attention_heads"]
    )
    parameters = 49152 * width + layers * (2 * width**2 + 2 * width * keys + 3 * width * inner)
    assert 3.8 < parameters / 134.5e6 < 4.2


@pytest.fixture
def public_data(tmp_path: Path) -> Path:
    alpaca = [{"instruction": f"Say {row}.", "input": "", "output": f"{row}!"} for row in range(9)]
    gsm8k = [{"question": f"{row} + 1?", "answer": f"#### {row + 1}"} for row in range(9)]
    for name, text in (
        ("alpaca/alpaca_data_safety_only.json", json.dumps(alpaca)),
        ("gsm8k/train_first1000.jsonl", "\n".join(map(json.dumps, gsm8k))),
    ):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text)
    return tmp_path


@pytest.fixture
def shrunk(monkeypatch: pytest.MonkeyPatch, loaded: LoadedModel) -> None:
    """The whole study on tiny models."""
    monkeypatch.setattr(speed, "ROWS", 12)
    monkeypatch.setattr(speed, "FEW_ROWS", 4)
    monkeypatch.setattr(speed, "ROWS_LARGE", 4)
    monkeypatch.setattr(speed, "FEW_ROWS_LARGE", 2)
    monkeypatch.setattr(speed, "LINEAR_ROWS", (4, 8, 16))
    tiny = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    monkeypatch.setattr(speed, "LARGE_SHAPE", tiny)
    monkeypatch.setattr(speed, "SMALL_SHAPE", tiny)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    monkeypatch.setattr(speed, "LARGE_HEADS", heads)
    monkeypatch.setattr(speed, "PEERS", {"one": OnePeer()})

    def load(name: str, dtype: str, **options: Any) -> LoadedModel:
        fresh = tiny_loaded()
        if dtype == "bfloat16":
            fresh.model.bfloat16()
        return fresh

    monkeypatch.setattr(speed, "load_model", load)


@pytest.mark.filterwarnings("ignore")
def test_the_study_holds_every_case_and_bar(
    shrunk: None, public_data: Path, tmp_path: Path
) -> None:
    result = speed.run(public_data, Silent())
    assert {row["case"] for row in result.rows} == {
        "built-in model, all rows",
        "built-in model, few rows",
        "built-in model, few rows, all linear layers",
        "random model four times larger, engines",
        "random model four times larger, peers",
        "screen",
        "growth",
    }
    names = " ".join(bar.name for bar in result.bars)
    for words in ("jvp, in F", "Spearman with oracle", "bfloat16", "one over", "linear in tokens"):
        assert words in names
    for name, chart in result.charts.items():
        write_chart(chart, tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").read_text().startswith("<svg")
