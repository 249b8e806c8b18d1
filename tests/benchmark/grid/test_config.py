from __future__ import annotations

from pathlib import Path

import pytest

from gradshield.benchmark.grid.config import read_config
from gradshield.errors import UserError

GRID = "tasks: [sst2]\nattacks: [explicit]\nshares: [0, 0.1]\nfilters: [none, oracle]\n"
FINETUNES = """
finetunes:
  - tasks: [sst2]
    attacks: [explicit]
    shares: [0.1]
    seeds: [0]
    filters: [oracle]
    training: {learning_rate: 1.0e-4}
"""


def config_file(folder: Path, text: str) -> Path:
    path = folder / "grid.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_grid_is_read(tmp_path: Path) -> None:
    config = read_config(config_file(tmp_path, GRID + FINETUNES))
    assert config.shares == (0, 0.1)
    assert config.finetunes[0].training.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GRID.replace("sst2", "sst3"), "tasks.0: unknown, choose one of sst2"),
        (GRID.replace("explicit", "implicit"), "attacks.0: unknown, choose one of explicit"),
        (GRID.replace("oracle", "oracles"), "filters.1: Unknown filter oracles"),
        (GRID.replace("0.1", "1.0"), "shares.1: Input should be less than 1"),
        (GRID + "rowz: 3\n", "rowz: Extra inputs"),
        (GRID + FINETUNES.replace("[0.1]", "[0.2]"), "finetunes.0.shares has 0.2, which shares"),
        (
            GRID.replace("none, ", "") + FINETUNES + "    training_methods: [lisa]\n",
            "finetunes.0.filters has none, which filters lacks",
        ),
        ("tasks: [", "cannot be read"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=r"grid\.yaml") as caught:
        read_config(config_file(tmp_path, text))
    assert words in str(caught.value)


def test_a_guard_is_a_filter_by_its_name(tmp_path: Path) -> None:
    text = GRID.replace("oracle]", '"moderation:http://localhost:1/v1"]')
    assert read_config(config_file(tmp_path, text)).filters[1].startswith("moderation:")


CONFIGS = sorted((Path(__file__).parents[3] / "benchmarks" / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_packaged_configurations_are_valid(path: Path) -> None:
    read_config(path)
