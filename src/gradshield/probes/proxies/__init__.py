"""Safety proxies by name; a new one is a file here and a line below."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from gradshield.errors import UserError
from gradshield.probes.proxies.base import OwnAnswers, ProxyMaker, SafetyProxy
from gradshield.probes.proxies.contrast import make_contrast
from gradshield.probes.proxies.first_token import make_first_token
from gradshield.probes.proxies.past_refusal import make_past_refusal
from gradshield.probes.proxies.token_sets import make_token_sets

PROXIES: dict[str, ProxyMaker] = {
    "first_token": make_first_token,
    "token_sets": make_token_sets,
    "contrast": make_contrast,
    "past_refusal": make_past_refusal,
}
DEFAULT_PROXY = "contrast"


def make_proxies(
    names: str, tokenizer: PreTrainedTokenizerBase, own_answers: OwnAnswers
) -> list[SafetyProxy]:
    """The proxies of a name such as `contrast` or, several joined, `contrast+past_refusal`.

    Raises:
        UserError: One of them is unknown.
    """
    parts = names.split("+")
    for name in parts:
        if name not in PROXIES:
            known = ", ".join(PROXIES)
            raise UserError(
                f"Unknown proxy {name}: choose one of {known}, or several joined by a plus."
            )
    return [PROXIES[name](tokenizer, own_answers) for name in parts]


__all__ = ["DEFAULT_PROXY", "PROXIES", "OwnAnswers", "ProxyMaker", "SafetyProxy", "make_proxies"]
