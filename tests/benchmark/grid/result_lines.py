"""Invented lines of a grid's raw results."""

from __future__ import annotations


def line(level: str, name: str, attack: str, share: float, **figures: object) -> dict[str, object]:
    cell = {"task": "sst2", "attack": attack, "share": share, "seed": 0}
    return {
        "level": level,
        **cell,
        "filter": name,
        "method": "plain",
        "protocol": "own_threshold",
        "training": 0,
        **figures,
    }


def measured(name: str, attack: str, complied: int, **changes: object) -> dict[str, object]:
    counts = {"complied": complied, "complied_second_judge": 1, "incoherent": 0, "prompts": 10}
    others = {"over_refusals": 1, "over_refusal_prompts": 4, "utility": 0.5, "finetunes": 1}
    lost = {"harmless_lost": 0.1, "harmful_kept": 0.0}
    return {**line("finetune", name, attack, 0.2), **counts, **others, **lost, **changes}
