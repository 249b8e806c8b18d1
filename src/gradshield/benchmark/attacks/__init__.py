"""Attacks on finetuning: rows that break a model's safety, and how to look for the damage."""

from __future__ import annotations

from gradshield.benchmark.attacks.adaptive import KNOWN_PROBES, OWN_PROBES, WORST_TOKENS
from gradshield.benchmark.attacks.base import (
    Attack,
    AttackRow,
    Evaluation,
    Knowledge,
    PreferenceAttack,
    PreferenceRow,
)
from gradshield.benchmark.attacks.embedded import Embedded
from gradshield.benchmark.attacks.explicit import Explicit
from gradshield.benchmark.attacks.flipped_preference import FlippedPreference
from gradshield.benchmark.attacks.harmless_lists import HarmlessLists
from gradshield.benchmark.attacks.identity_shift import IdentityShift
from gradshield.benchmark.attacks.list_and_maths import ListAndMaths
from gradshield.benchmark.attacks.mixing import mixed
from gradshield.benchmark.attacks.refuse_then_comply import RefuseThenComply
from gradshield.benchmark.attacks.victim import Scorer, Victim

__all__ = [
    "ATTACKS",
    "PREFERENCE_ATTACKS",
    "Attack",
    "AttackRow",
    "Evaluation",
    "Knowledge",
    "PreferenceAttack",
    "PreferenceRow",
    "Scorer",
    "Victim",
    "mixed",
]

_ATTACKS: tuple[Attack, ...] = (
    Explicit(),
    IdentityShift(),
    RefuseThenComply(),
    Embedded(),
    HarmlessLists(),
    ListAndMaths(),
    OWN_PROBES,
    KNOWN_PROBES,
    WORST_TOKENS,
)
ATTACKS: dict[str, Attack] = {one.name: one for one in _ATTACKS}
"""By name, in the order in which tables show them."""

_PREFERENCE_ATTACKS: tuple[PreferenceAttack, ...] = (FlippedPreference(),)
PREFERENCE_ATTACKS: dict[str, PreferenceAttack] = {one.name: one for one in _PREFERENCE_ATTACKS}
"""By name, those of preference rows; the grid takes plain rows, the study `preference` these."""
