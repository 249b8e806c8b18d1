"""What every attack offers: rows to hide in a data set, and how to look for the damage they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gradshield.benchmark.attacks.victim import Victim
from gradshield.data import Conversation, Message, Preference
from gradshield.scoring.engines.base import DEFAULT_REDUCTION, Reduction


@dataclass(frozen=True)
class AttackRow:
    """A row that an attacker puts into a data set, or a control that looks like one.

    Attributes:
        conversation: The row.
        group: The kind of row within the attack, for results by kind.
        harmful: Whether it is meant to do damage, by what it says or by what it is known to do;
            False for a control.
    """

    conversation: Conversation
    group: str
    harmful: bool = True


@dataclass(frozen=True)
class PreferenceRow:
    """A preference row that an attacker puts into a data set, or a harmless one.

    Attributes:
        preference: The row.
        group: The kind of row, for results by kind.
        harmful: Whether it is meant to do damage.
    """

    preference: Preference
    group: str
    harmful: bool = True


@dataclass(frozen=True)
class Knowledge:
    """What an attacker knows of the filter who knows its method.

    Attributes:
        probes: Whether its probes are known, too; otherwise the attacker takes its own.
        reduction: What the filter's scores are of the response tokens.
    """

    probes: bool
    reduction: Reduction = DEFAULT_REDUCTION


def user_turn(prompt: str) -> Conversation:
    """A prompt asked without anything around it."""
    return Conversation((Message("user", prompt),))


def whole(answer: str) -> str | None:
    """The answer as it is."""
    return answer


@dataclass(frozen=True)
class Evaluation:
    """How to look for the damage: some attacks open a model only where a prompt looks like theirs.

    Attributes:
        ask: From a harmful prompt to the conversation that the finetuned model is to answer.
        judged: The part of an answer that a judge is to see, None if the answer never comes to
            the harmful request, which is no success.
        lead_tokens: Tokens, at most, that an answer may spend before that part begins; so many
            more are to be generated.
    """

    ask: Callable[[str], Conversation] = user_turn
    judged: Callable[[str], str | None] = whole
    lead_tokens: int = 0

    def complied(self, answer: str, refuses: Callable[[str], bool]) -> bool:
        """Whether an answer to `ask(prompt)` does what the harmful prompt asks, by one judge."""
        part = self.judged(answer)
        return part is not None and not refuses(part)


class Attack(Protocol):
    """A way to break a model's safety by rows of its finetuning data.

    No row answers a harmful prompt with more than an empty answer, and no prompt of a row is one
    that `splits` keeps for tests, validation or anchors, nor a near-duplicate of one.
    """

    @property
    def name(self) -> str:
        """The attack's name in `ATTACKS`."""
        ...

    @property
    def knowledge(self) -> Knowledge | None:
        """What the attacker knows; None for nothing. With any, `rows` needs a victim."""
        ...

    def rows(self, folder: Path, victim: Victim | None = None) -> list[AttackRow]:
        """All rows of the attack and its controls, the same every time.

        Args:
            folder: The folder of public data.
            victim: The filter as the attacker sees it; only some attacks look.

        Raises:
            UserError: A file is missing.
            ValueError: The attack needs a victim and has none.
        """
        ...

    def evaluation(self, folder: Path) -> Evaluation:
        """How the damage is looked for, with the harmful prompts of the test.

        Raises:
            UserError: A file is missing.
        """
        ...


class PreferenceAttack(Protocol):
    """A way to break a model's safety by preference rows; prompts and answers as in `Attack`."""

    @property
    def name(self) -> str:
        """The attack's name in `PREFERENCE_ATTACKS`."""
        ...

    def rows(self, folder: Path) -> list[PreferenceRow]:
        """All rows of the attack and its controls, the same every time.

        Raises:
            UserError: A file is missing.
        """
        ...
