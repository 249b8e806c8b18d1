"""The products of the proxies study against the engine that defines FIHS."""

from __future__ import annotations

import numpy as np
import pytest

from gradshield.benchmark.demo_labels import Label
from gradshield.benchmark.studies import proxies
from gradshield.data import SourceRow, TokenizedExample, tokenize_rows
from gradshield.models.layers import block_linear_layers
from gradshield.models.load import LoadedModel
from gradshield.probes.direction import Direction, without_component
from gradshield.progress import Silent
from gradshield.scoring.engines import PerExample
from tests.run.data_files import good_rows

Directions = dict[tuple[str, str], Direction]


@pytest.fixture(scope="module")
def examples(loaded: LoadedModel) -> list[TokenizedExample]:
    rows = [SourceRow(position, None, row) for position, row in enumerate(good_rows(5))]
    return tokenize_rows(rows, loaded.tokenizer)[0]


@pytest.fixture(scope="module")
def directions(loaded: LoadedModel, _few_probes: None) -> Directions:
    return proxies._directions(loaded, Silent())


@pytest.fixture(scope="module")
def products(
    loaded: LoadedModel, directions: Directions, examples: list[TokenizedExample]
) -> proxies.Products:
    return proxies.layer_products(loaded, directions, examples, lambda count: None)


def _fihs(
    loaded: LoadedModel, direction: Direction, examples: list[TokenizedExample]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """FIHS by the oracle, not per unit direction."""
    batches = [[example] for example in examples]
    scores = [batch[0].fihs for batch in PerExample()(loaded.model, direction, batches)]
    return np.array(scores) * direction.norm


def test_products_cover_every_proxy_and_both_probe_sets(
    loaded: LoadedModel, products: proxies.Products
) -> None:
    layers = len(block_linear_layers(loaded.model))
    assert set(products) == {
        (name, prompts)
        for name in ("first_token", "token_sets", "contrast")
        for prompts in ("harmful", "ordinary")
    }
    assert {values.shape for values in products.values()} == {(5, layers)}


@pytest.mark.parametrize("proxy", ["first_token", "contrast"])
def test_plain_variant_is_fihs_times_the_length_of_g(
    loaded: LoadedModel,
    directions: Directions,
    products: proxies.Products,
    examples: list[TokenizedExample],
    proxy: str,
) -> None:
    layers = list(block_linear_layers(loaded.model))
    chosen = list(range(len(layers)))
    plain = proxies._variants(directions, products, proxy, layers, chosen)["plain"]
    expected = _fihs(loaded, directions[proxy, "harmful"], examples)
    assert plain == pytest.approx(expected, rel=1e-4, abs=1e-6 * np.abs(expected).max())


def test_a_choice_of_modules_is_a_direction_of_these_modules_alone(
    loaded: LoadedModel,
    directions: Directions,
    products: proxies.Products,
    examples: list[TokenizedExample],
) -> None:
    layers = list(block_linear_layers(loaded.model))
    chosen = proxies._module_choices(layers)["mlp"]
    plain = proxies._variants(directions, products, "contrast", layers, chosen)["plain"]
    whole = directions["contrast", "harmful"]
    part = Direction({layers[i]: whole.tensors[layers[i]] for i in chosen}, whole.record)
    expected = _fihs(loaded, part, examples)
    assert plain == pytest.approx(expected, rel=1e-4, abs=1e-6 * np.abs(expected).max())


def test_benign_part_out_is_the_orthogonal_direction(
    loaded: LoadedModel,
    directions: Directions,
    products: proxies.Products,
    examples: list[TokenizedExample],
) -> None:
    layers = list(block_linear_layers(loaded.model))
    chosen = list(range(len(layers)))
    variants = proxies._variants(directions, products, "contrast", layers, chosen)
    orthogonal = without_component(
        directions["contrast", "harmful"], directions["contrast", "ordinary"]
    )
    expected = _fihs(loaded, orthogonal, examples)
    assert variants["benign part out"] == pytest.approx(
        expected, rel=1e-3, abs=1e-4 * np.abs(expected).max()
    )


def test_module_choices_by_hand() -> None:
    layers = [
        f"model.layers.{block}.{part}"
        for block in range(3)
        for part in ("self_attn.q_proj", "mlp.up_proj")
    ]
    assert proxies._module_choices(layers) == {
        "all linear layers": [0, 1, 2, 3, 4, 5],
        "attention": [0, 2, 4],
        "mlp": [1, 3, 5],
        "first third": [0, 1],
        "middle third": [2, 3],
        "last third": [4, 5],
        "first two thirds": [0, 1, 2, 3],
    }


def test_areas_by_kind(examples: list[TokenizedExample]) -> None:
    labels = [Label(kind, kind != "plain") for kind in ("plain", "explicit_a", "shift")] + [
        Label("plain", False)
    ] * 2
    areas = proxies._areas(np.array([0.2, 0.9, 0.1, 0.0, 0.3]), examples, labels)
    # Harmless: 0.2, 0.0, 0.3. The explicit row is above all three, the shift above one.
    assert areas == {
        "all": pytest.approx(4 / 6),
        "explicit": 1.0,
        "explicit_a": 1.0,
        "shift": pytest.approx(1 / 3),
    }
