"""The data sets of the grid: rows of a task, a share of them an attack's, with the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from gradshield.benchmark.attacks import AttackRow, mixed
from gradshield.benchmark.attacks.splits import anchors
from gradshield.benchmark.demo_labels import Label
from gradshield.benchmark.grid.config import GridConfig
from gradshield.benchmark.public_data import exchange
from gradshield.benchmark.task_data import TRAINING_ROWS
from gradshield.data import Conversation, tokenize_conversation
from gradshield.errors import UserError
from gradshield.filters import Material, Row
from gradshield.models.load import LoadedModel
from gradshield.probes.prompt_sets import load_prompts, spread
from gradshield.progress import Progress

NO_ATTACK = "none"
"""The attack of a data set without harmful rows: the same whatever the attack would be."""
CONTROLS = "controls"
"""Behind the name of an attack: its harmless controls in the place of its rows."""


@dataclass(frozen=True)
class Cell:
    """What a data set is made of."""

    task: str
    attack: str
    share: float
    seed: int

    @property
    def name(self) -> str:
        """As it is shown, and unique."""
        return f"{self.task}/{self.attack}/{self.share:g}/{self.seed}"


@dataclass(frozen=True)
class DataSet:
    """Rows to be filtered, and what is true of them."""

    cell: Cell
    rows: Sequence[Row]
    labels: Sequence[Label]

    @property
    def harmful(self) -> list[bool]:
        """By row."""
        return [label.harmful for label in self.labels]


def draw_data_sets(
    config: GridConfig,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    attack_rows: Mapping[str, Sequence[AttackRow]],
) -> Iterator[DataSet]:
    """All data sets of a grid.

    Args:
        config: The grid.
        folder: The folder of public data.
        tokenizer: The aligned model's.
        attack_rows: Rows and controls of every attack of the grid, by its name.

    Raises:
        UserError: A public file is missing, or there are too few rows of a task or of an attack.
    """
    placed = {
        name: rows
        for attack in config.attacks
        for name, rows in _parts(attack, attack_rows[attack]).items()
    }
    for task in config.tasks:
        harmless = short_rows(task, folder, tokenizer, config.most_tokens)
        for cell in _cells(config, task, list(placed)):
            rows = placed.get(cell.attack, [])
            try:
                drawn = mixed(harmless, rows, cell.share, config.rows, cell.seed)
            except ValueError as fault:
                raise UserError(
                    f"{cell.name} cannot be drawn. {fault} Set rows (now {config.rows}) or the "
                    "share lower; a higher most_tokens lets more rows of a task in."
                ) from fault
            labels, conversations = zip(*drawn, strict=True)
            yield DataSet(cell, as_rows(conversations, tokenizer, config.most_tokens), labels)


def _cells(config: GridConfig, task: str, attacks: Sequence[str]) -> Iterator[Cell]:
    for seed in config.seeds:
        for share in config.shares:
            for attack in attacks if share else [NO_ATTACK]:
                yield Cell(task, attack, share, seed)


def _parts(name: str, rows: Sequence[AttackRow]) -> dict[str, list[AttackRow]]:
    """The rows of an attack by its name, and its controls, if it has any, by a name of theirs."""
    parts = {
        name: [row for row in rows if row.harmful],
        f"{name}:{CONTROLS}": [row for row in rows if not row.harmful],
    }
    return {part: found for part, found in parts.items() if found}


def short_rows(
    task: str, folder: Path, tokenizer: PreTrainedTokenizerBase, most_tokens: int
) -> list[Conversation]:
    """Training rows of a task that are no longer than a number of tokens."""
    return [
        one
        for one in TRAINING_ROWS[task](folder)
        if len(tokenize_conversation(one, tokenizer, max_length=None).input_ids) <= most_tokens
    ]


def as_rows(
    conversations: Sequence[Conversation], tokenizer: PreTrainedTokenizerBase, most_tokens: int
) -> list[Row]:
    """Conversations as rows of a data set, numbered from 0."""
    return [
        Row(one, tokenize_conversation(one, tokenizer, row=row, max_length=most_tokens))
        for row, one in enumerate(conversations)
    ]


def grid_material(
    config: GridConfig, folder: Path, loaded: LoadedModel, progress: Progress
) -> Material:
    """What all filters may use: anchors that no attack and no test has, and ordinary rows."""
    found = anchors(folder)
    ordinary = spread(load_prompts("ordinary", "probe"), config.anchors)
    harmless = [exchange(prompt.text, str(prompt.answer)) for prompt in ordinary]

    def rows(conversations: Sequence[Conversation]) -> list[Row]:
        return as_rows(spread(conversations, config.anchors), loaded.tokenizer, config.most_tokens)

    return Material(
        loaded,
        harmful=rows(found.answered),
        refused=rows(found.refused),
        harmless=rows(harmless),
        progress=progress,
    )
