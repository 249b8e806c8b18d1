"""FIHS of preference rows: of the loss of DPO or IPO at theta_0, from two plain scores.

DPO (Rafailov et al. 2023, arXiv 2305.18290) trains on a prompt x, an answer y_w that is preferred
and an answer y_l that is not. With the log-ratio r(y) = log p(y | x; theta) - log p(y | x; ref),
each log p a *sum* over response tokens, its loss is

    l = -log sigmoid(beta m),    m = r(y_w) - r(y_l).

The reference is the model before training. At theta_0 it is the model itself, so m = 0 and
sigmoid(-beta m) = 1/2, whatever the row; the reference does not depend on theta. Hence

    grad l = -beta sigmoid(-beta m) grad m = -(beta / 2) (grad log p(y_w) - grad log p(y_l)),

and with L(y) = -log p(y | x), the summed loss of a plain row with the answer y,

    FIHS = -<grad l, g> / |g| = (beta / 2) (FIHS_L(y_w) - FIHS_L(y_l)).

So a preference row is two plain rows, scored by the same engines and subtracted; what its tokens
add is added likewise, those of the rejected answer with the opposite sign. Positive means harmful
as ever: one step on the row teaches to prefer what makes the model unsafe. Tokens that both
answers begin with cancel.

IPO (Azar et al. 2023, arXiv 2310.12036), as TRL computes it, averages each log-ratio over its
tokens and has the loss (m - 1 / (2 beta))^2, whose gradient at m = 0 is -(1 / beta) grad m: the
same with mean losses in place of sums, and the factor 1 / beta.

beta scales all scores of a run, and those of the reference rows, alike: no order and no decision
depends on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gradshield.config import ScoringSettings
from gradshield.data.pairs import TokenizedPair
from gradshield.errors import UserError
from gradshield.models.load import LoadedModel
from gradshield.scoring.engines import LINEAR_ENGINES, ExampleScore, PreparedEngine
from gradshield.scoring.engines.base import Reduction
from gradshield.scoring.score import score_examples


@dataclass(frozen=True)
class PreferenceLoss:
    """A loss of preference training, as far as its gradient at theta_0 goes.

    Attributes:
        title: The loss as people call it.
        reduction: How the loss of an answer is made of its tokens' losses.
        factor: From beta to what the difference of the two scores is multiplied by.
    """

    title: str
    reduction: Reduction
    factor: Callable[[float], float]


LOSSES = {
    "dpo": PreferenceLoss("DPO", "sum", lambda beta: beta / 2),
    "ipo": PreferenceLoss("IPO", "mean", lambda beta: 1 / beta),
}
"""By name in `ScoringSettings.preference_loss`."""


def preference_settings(settings: ScoringSettings) -> ScoringSettings:
    """The settings with which both answers are scored: the loss decides the reduction.

    Raises:
        UserError: The engine weighs gradients, and weighed gradients cannot be subtracted.
    """
    if settings.engine not in ("auto", *LINEAR_ENGINES):
        raise UserError(
            f"The engine {settings.engine} cannot score preference rows: what it gives for two "
            "answers does not add up to what it would give for their preference. Use --engine "
            f"auto, or one of {', '.join(LINEAR_ENGINES)}."
        )
    reduction = LOSSES[settings.preference_loss].reduction
    return settings.model_copy(update={"reduction": reduction})


def preference_statement(settings: ScoringSettings) -> str:
    """What the scores of preference rows are, as one sentence."""
    loss = LOSSES[settings.preference_loss]
    return (
        f"The rows are preferences: FIHS is that of the {loss.title} loss (beta {settings.beta:g}) "
        f"at the aligned model, the score of the chosen answer less that of the rejected one, each "
        f"a {loss.reduction} over its response tokens."
    )


def score_pairs(
    loaded: LoadedModel,
    pairs: Sequence[TokenizedPair],
    engine: PreparedEngine,
    settings: ScoringSettings,
    *,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[int, ExampleScore]:
    """FIHS of every pair, by its row; the arguments are those of `score_examples`.

    Args:
        loaded: The aligned model.
        pairs: Tokenised preferences.
        engine: Made ready with `preference_settings`.
        settings: The loss and its beta, and the size of batches.
        progress: Called with the number of pairs that are done.
    """
    loss = LOSSES[settings.preference_loss]
    factor = loss.factor(settings.beta)
    by_halves = _halved(progress)
    chosen, rejected = (
        score_examples(
            loaded, sides, engine, batch_tokens=settings.batch_tokens, progress=by_halves
        )
        for sides in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    )
    return {row: combined(chosen[row], rejected[row], factor) for row in chosen}


def combined(chosen: ExampleScore, rejected: ExampleScore, factor: float) -> ExampleScore:
    """The score of a preference from those of its answers.

    Its loss is the mean loss of the chosen answer, since that of DPO is ln 2 for every row; its
    tokens are the chosen answer's, then the rejected one's.
    """
    tokens = None
    if chosen.token_fihs is not None and rejected.token_fihs is not None:
        tokens = (
            *(factor * token for token in chosen.token_fihs),
            *(-factor * token for token in rejected.token_fihs),
        )
    return ExampleScore(chosen.row, factor * (chosen.fihs - rejected.fihs), chosen.loss, tokens)


def _halved(progress: Callable[[int], None]) -> Callable[[int], None]:
    """Progress in rows from progress in answers, of which a row has two."""
    answers = 0

    def advance(count: int) -> None:
        nonlocal answers
        before, answers = answers, answers + count
        progress(answers // 2 - before // 2)

    return advance
