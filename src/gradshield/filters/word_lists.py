"""Word lists: what many people do first, and nothing more.

No model is asked. Homonyms ("kill a process") count like the real thing, and harm in other words,
or in none at all, is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradshield.evaluation.refusal import is_refusal
from gradshield.filters.base import Material, Need, Row, Scores, fixed
from gradshield.filters.exchanges import last_exchange

# Our own choice of plain words; no published list was taken.
HARM_WORDS = (
    *("weapon", "gun", "bomb", "explosive", "grenade", "ammunition", "poison", "arson"),
    *("drug", "cocaine", "heroin", "meth", "overdose"),
    *("hack", "malware", "virus", "ransomware", "spyware", "keylogger", "phishing", "exploit"),
    *("steal", "theft", "rob", "burglary", "fraud", "scam", "counterfeit", "forge", "launder"),
    *("blackmail", "extort", "bribe", "smuggle", "traffick", "kidnap", "stalk", "harass", "bully"),
    *("murder", "kill", "assassinate", "stab", "strangle", "torture", "rape", "abuse", "assault"),
    *("terrorist", "terrorism", "genocide", "massacre", "suicide", "racist", "hateful", "slur"),
    *("sabotage", "vandalise", "vandalize", "illegal", "crime", "criminal"),
)
"""Weapons, drugs, hacking, theft and fraud, coercion, violence, hatred, crime at large."""
ONE_WORD = 1.0
"""The threshold: a single word of the list is enough."""


def _inflected(word: str) -> re.Pattern[str]:
    """A whole word with the regular English endings (`stab`: `stabs`, `stabbing`; not `stable`)."""
    endings = "s|es|ed|er|ers|ing"
    if word.endswith("e"):
        return re.compile(rf"\b{word[:-1]}(?:e|{endings})\b", re.IGNORECASE)
    return re.compile(rf"\b{word}(?:{word[-1]}?(?:{endings}))?\b", re.IGNORECASE)


_PATTERNS = {word: _inflected(word) for word in HARM_WORDS}


def harm_words(text: str) -> list[str]:
    """Words of the list in a text, as the list has them, each as often as it occurs."""
    return [word for word, pattern in _PATTERNS.items() for _ in pattern.findall(text)]


@dataclass(frozen=True)
class HarmWords:
    """Counts words of the list in a row."""

    name: str = "harm_words"
    needs: frozenset[Need] = frozenset()
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Occurrences of listed words in all turns; see `Filter`.

        Rows with at least one are removed.
        """
        counts = [
            sum(len(harm_words(turn.content)) for turn in row.conversation.messages) for row in rows
        ]
        return Scores(np.array(counts, dtype=np.float64), fixed(ONE_WORD))


@dataclass(frozen=True)
class HarmWordsAnswered:
    """Counts listed words in a prompt that is not refused."""

    name: str = "harm_words_answered"
    needs: frozenset[Need] = frozenset()
    by_row: bool = True

    def score(self, rows: Sequence[Row], material: Material) -> Scores:
        """Different listed words in the last prompt; 0 where the answer declines. See `Filter`.

        Rows with at least one are removed. What counts as declining is said by
        `gradshield.evaluation.refusal`: an answer that first declines and then complies scores 0.
        """
        values = np.zeros(len(rows))
        for place, row in enumerate(rows):
            exchange = last_exchange(row.conversation)
            if not is_refusal(exchange.answer):
                values[place] = len(set(harm_words(exchange.prompt)))
        return Scores(values, fixed(ONE_WORD))
