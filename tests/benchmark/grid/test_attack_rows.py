"""Rows that an attack searched for are kept, and read back as they were."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradshield.benchmark.attacks import AttackRow, Knowledge
from gradshield.benchmark.attacks.adaptive import Adaptive
from gradshield.benchmark.attacks.explicit import Explicit
from gradshield.benchmark.grid import attack_rows as kept
from gradshield.benchmark.grid.attack_rows import attack_rows, make_victim, read_row
from gradshield.data import Conversation, Message
from gradshield.models.load import LoadedModel
from gradshield.progress import Silent

OWN = Adaptive("own", Knowledge(probes=False), most_rows=2, places=1, candidates=1, screened=1)
KNOWN = replace(OWN, name="known", knowledge=Knowledge(probes=True))
WORST = replace(OWN, name="worst", knowledge=Knowledge(probes=False, reduction="worst_tokens"))
MESSAGES = st.builds(Message, st.text(), st.text(), st.booleans())
CONVERSATIONS = st.builds(Conversation, st.lists(MESSAGES, max_size=3).map(tuple))


@given(st.builds(AttackRow, CONVERSATIONS, st.text(), st.booleans()))
def test_rows_survive_the_way_through_json(row: AttackRow) -> None:
    assert read_row(json.loads(json.dumps(asdict(row)))) == row


@dataclass
class Searches:
    """`attack_rows` on one model and folder, with a count of the victims that were made."""

    public: Path
    loaded: LoadedModel
    folder: Path
    victims: int = 0

    def rows(self, attack: Any, most_tokens: int = 512, model: str = "tiny") -> list[AttackRow]:
        return attack_rows(
            attack,
            self.public,
            self.loaded,
            most_tokens=most_tokens,
            folder=self.folder,
            identity={"weights": model},
            progress=Silent(),
        )


@pytest.fixture
def searches(
    public: Path, loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Searches:
    found = Searches(public, loaded, tmp_path / "attacks")
    make = kept.make_victim

    def counted(*arguments: Any) -> Any:
        found.victims += 1
        return make(*arguments)

    monkeypatch.setattr(kept, "make_victim", counted)
    monkeypatch.setattr(kept, "ATTACKER_PROBES", 2)
    return found


@pytest.mark.parametrize("attack", [OWN, KNOWN, WORST])
def test_a_search_is_done_once(searches: Searches, attack: Adaptive) -> None:
    first = searches.rows(attack)
    assert [row.group for row in first] == [attack.name] * 2
    assert searches.rows(attack) == first
    assert searches.victims == 1


def test_what_decides_the_rows_tells_them_apart(searches: Searches) -> None:
    searches.rows(OWN)
    searches.rows(KNOWN)
    searches.rows(OWN, most_tokens=500)
    searches.rows(OWN, model="other")
    searches.rows(replace(OWN, most_rows=1))
    searches.rows(WORST)
    assert searches.victims == len(list(searches.folder.iterdir())) == 6


def test_an_attack_that_asks_nobody_is_not_kept(searches: Searches) -> None:
    assert searches.rows(Explicit()) == Explicit().rows(searches.public)
    assert searches.victims == 0
    assert not searches.folder.exists()


@pytest.mark.usefixtures("_few_probes")
@pytest.mark.parametrize("probes", [False, True])
def test_the_victim_scores_as_the_filter_does_that_is_known(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, probes: bool
) -> None:
    monkeypatch.setattr(kept, "ATTACKER_PROBES", 2)
    row = Conversation((Message("user", "Hi"), Message("assistant", "Sure, here is how it goes.")))
    sums, worst = (
        make_victim(Knowledge(probes, reduction), loaded, 512, Silent()).scores([row])[0]
        for reduction in ("sum", "worst_tokens")
    )
    assert worst > 0
    assert sums < worst
