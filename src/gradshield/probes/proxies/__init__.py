"""Safety proxies by name; a new one is a file here and a line below."""

from gradshield.probes.proxies.base import OwnAnswers, ProxyMaker, SafetyProxy
from gradshield.probes.proxies.contrast import make_contrast
from gradshield.probes.proxies.first_token import make_first_token
from gradshield.probes.proxies.token_sets import make_token_sets

PROXIES: dict[str, ProxyMaker] = {
    "first_token": make_first_token,
    "token_sets": make_token_sets,
    "contrast": make_contrast,
}
DEFAULT_PROXY = "contrast"

__all__ = ["DEFAULT_PROXY", "PROXIES", "OwnAnswers", "ProxyMaker", "SafetyProxy"]
