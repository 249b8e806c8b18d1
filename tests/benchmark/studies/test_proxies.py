"""The products of the proxies study against the engine that defines FIHS."""

from __future__ import annotations

import numpy as np
import pytest

from gradshield.benchmark.demo_labels import Label
from gradshield.benchmark.studies import proxies
from gradshield.data import SourceRow, TokenizedExample, tokenize_rows
from gradshield.models.layers import block_linear_layers
from gradshield.models.load import LoadedModel
from gradshield.probes import calibration
from gradshield.probes.calibration import TakeOut
from gradshield.probes.direction import Direction, without_span
from gradshield.probes.harmless_rows import harmless_rows
from gradshield.progress import Silent
from gradshield.scoring.engines import PerExample
from tests.run.data_files import good_rows


@pytest.fixture(scope="module")
def examples(loaded: LoadedModel) -> list[TokenizedExample]:
    rows = [SourceRow(position, None, row) for position, row in enumerate(good_rows(5))]
    return tokenize_rows(rows, loaded.tokenizer)[0]


@pytest.fixture(scope="module")
def directions(loaded: LoadedModel, _few_probes: None) -> proxies.Directions:
    with pytest.MonkeyPatch.context() as patch:
        few = harmless_rows(loaded.tokenizer, "probe")[:20]
        patch.setattr(calibration, "harmless_rows", lambda tokenizer, split: few)
        patch.setattr(calibration, "opening_rows", lambda tokenizer: [])
        return proxies._directions(loaded, Silent())


@pytest.fixture(scope="module")
def products(
    loaded: LoadedModel, directions: proxies.Directions, examples: list[TokenizedExample]
) -> proxies.Products:
    return proxies.row_products(loaded, directions, examples, lambda count: None)


def test_products_cover_every_proxy_and_the_harmless_groups(
    loaded: LoadedModel, products: proxies.Products
) -> None:
    assert {name for name in products.names if not name.startswith("harmless")} == {
        f"{name} {prompts}"
        for name in ("first_token", "token_sets", "contrast")
        for prompts in ("harmful", "ordinary")
    }
    # Twenty packaged rows in groups of twelve.
    assert len([name for name in products.names if name.startswith("harmless")]) == 2
    blocks = {int(name.split(".")[2]) for name in block_linear_layers(loaded.model)}
    assert {int(name.split(".")[2]) for name in products.layers} == {
        block for block in blocks if block >= len(blocks) / 2
    }
    assert products.rows.shape == (5, len(products.names), len(products.layers))


@pytest.mark.parametrize("take_out", ["nothing", "benign", "harmless"])
@pytest.mark.parametrize("modules", ["last half", "last half, mlp"])
@pytest.mark.parametrize("proxy", ["first_token", "contrast"])
def test_scores_are_fihs_times_the_length_of_the_direction(
    loaded: LoadedModel,
    directions: proxies.Directions,
    products: proxies.Products,
    examples: list[TokenizedExample],
    proxy: str,
    modules: str,
    take_out: TakeOut,
) -> None:
    chosen = proxies._module_choices(products.layers)[modules]
    names = [products.layers[index] for index in chosen]

    def part(name: str) -> dict[str, object]:
        return {layer: directions[name][layer] for layer in names}

    direction = Direction(part(f"{proxy} harmful"), {"proxy": proxy})  # type: ignore[arg-type]
    taken = {"nothing": [], "benign": [f"{proxy} ordinary"]}.get(
        take_out, [name for name in directions if name.startswith("harmless")]
    )
    if taken:
        direction = without_span(direction, [part(name) for name in taken])  # type: ignore[misc]
    engine = PerExample(tokens=False).prepare(loaded.model, direction, "mean", [])
    scores = [score.fihs for score in engine.score(examples)]
    expected = np.array(scores) * direction.norm
    found = proxies.mean_scores(products, proxy, take_out, chosen)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3 * np.abs(expected).max())


def test_module_choices_by_hand() -> None:
    layers = [
        f"model.layers.{block}.{part}"
        for block in (3, 4, 5)
        for part in ("self_attn.q_proj", "mlp.up_proj")
    ]
    assert proxies._module_choices(layers) == {
        "last half": [0, 1, 2, 3, 4, 5],
        "last half, mlp": [1, 3, 5],
        "last half, attention": [0, 2, 4],
        "last third": [2, 3, 4, 5],
        "last third, mlp": [3, 5],
    }


def test_figures_by_hand() -> None:
    truth = [Label("plain", False)] * 3 + [Label("explicit_a", True), Label("shift", True)]
    # Harmless: 0.2, 0.0, 0.3. The explicit row is above all three, the shift above one. In the
    # second data set signs are turned.
    scores = np.array([0.2, 0.0, 0.3, 0.9, 0.1])
    figures = proxies._figures(np.concatenate([scores, -scores]), {"public": truth, "demo": truth})
    assert figures == {
        "public_all": pytest.approx((3 + 1) / 6),
        "public_explicit": 1.0,
        "public_found": 1.0,
        "demo_all": pytest.approx((0 + 2) / 6),
        "demo_explicit": 0.0,
        "demo_found": 0.0,
    }
