"""Rows of the attacks of a grid; those that an attack searched for are kept, so they cost once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradshield.benchmark.attacks import Attack, AttackRow, Knowledge, Victim
from gradshield.benchmark.attacks.explicit import empty_answers
from gradshield.benchmark.attacks.victim import fihs_scorer, own_direction
from gradshield.benchmark.grid.keys import digest, stable_repr
from gradshield.config import ScoringSettings
from gradshield.data import Conversation, Message
from gradshield.files import write_text
from gradshield.filters.fihs import GRADSHIELD
from gradshield.models.load import LoadedModel
from gradshield.probes.prompt_sets import load_prompts, spread
from gradshield.progress import Progress
from gradshield.scoring.score import prepare_engine
from gradshield.shield import GradShield

ATTACKER_PROBES = 32


def attack_rows(
    attack: Attack,
    public_data: Path,
    loaded: LoadedModel,
    *,
    most_tokens: int,
    folder: Path,
    identity: Mapping[str, Any],
    progress: Progress,
) -> list[AttackRow]:
    """All rows of an attack; a victim is made for it only where no former run has kept them.

    Args:
        attack: One of `ATTACKS`.
        public_data: The folder of public data.
        loaded: The aligned model, which the filter that an attack asks is made of.
        most_tokens: To which that filter cuts rows.
        folder: Where rows that were searched for are kept, one file for each attack.
        identity: What decides the aligned model, JSON-serialisable.
        progress: Told how far a search is.

    Raises:
        UserError: A public file is missing.
    """
    if attack.knowledge is None:
        return attack.rows(public_data)
    path = folder / f"{_key(attack, public_data, most_tokens, identity)}.json"
    if path.is_file():
        return [read_row(line) for line in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    rows = attack.rows(public_data, make_victim(attack.knowledge, loaded, most_tokens, progress))
    content = {"attack": attack.name, "rows": [asdict(row) for row in rows]}
    write_text(path, json.dumps(content, indent=2) + "\n")
    return rows


def read_row(line: Mapping[str, Any]) -> AttackRow:
    """The row that `dataclasses.asdict` has made a line of, also after a way through JSON."""
    messages = tuple(Message(**message) for message in line["conversation"]["messages"])
    return AttackRow(Conversation(messages), line["group"], line["harmful"])


def make_victim(
    knowledge: Knowledge, loaded: LoadedModel, most_tokens: int, progress: Progress
) -> Victim:
    """GradShield as an attacker sees it who knows the method, or also its probes."""
    scoring = ScoringSettings(reduction=knowledge.reduction)
    if knowledge.probes:
        shield = GradShield(loaded.model, loaded.tokenizer, scoring=scoring, progress=progress)
        direction = shield.direction
    else:
        direction = own_direction(loaded, _attacker_probes(), progress)
    engine = prepare_engine(loaded, direction, scoring, progress)
    score = fihs_scorer(loaded, engine)
    return Victim(score, loaded.tokenizer, max_length=most_tokens, progress=progress)


def _attacker_probes() -> list[str]:
    prompts = spread(load_prompts("harmful", "validation"), ATTACKER_PROBES)
    return [one.text for one in prompts]


def _key(attack: Attack, public_data: Path, most_tokens: int, identity: Mapping[str, Any]) -> str:
    """What decides the rows: the search, its starts, the model, and the filter that is asked."""
    parts = [
        stable_repr(attack),
        repr(empty_answers(public_data)),
        repr(_attacker_probes()),
        json.dumps(dict(identity), sort_keys=True),
        str(most_tokens),
        stable_repr(GRADSHIELD),
    ]
    return digest(parts)
