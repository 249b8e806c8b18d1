"""Third-party libraries that the benchmark times beside our engines, by name."""

from gradshield.benchmark.peers.base import Peer
from gradshield.benchmark.peers.bergson_gradients import BergsonGradients
from gradshield.benchmark.peers.dattri_gradients import DattriGradDot
from gradshield.benchmark.peers.kronfluence_scores import KronfluenceScores
from gradshield.benchmark.peers.traker_projection import TrakerProjection

PEERS: dict[str, Peer] = {
    "traker": TrakerProjection(),
    "dattri": DattriGradDot(),
    "bergson": BergsonGradients(),
    "kronfluence": KronfluenceScores(),
}
"""None of them is imported before its `scores` is called."""

__all__ = ["PEERS", "Peer"]
