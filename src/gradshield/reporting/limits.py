"""What a decision of GradShield does not say, for every form of the report."""

from __future__ import annotations

LIMITS = (
    "The score is the effect, to first order, of one training step on a row alone. What many steps "
    "on many rows do together can differ; only a finetune that is measured shows it.",
    "It holds for this model, chat template, precision and choice of response tokens. Another "
    "model, or a trainer that puts the loss on other tokens, has other scores.",
    "Safety is measured on the probes: harmful requests, most of them in English. Harm of other "
    "kinds or in other languages moves the score only as far as it resembles them.",
    "Whoever knows the probes and the model can write rows with low scores that still do harm. "
    "Rows that change who the model says it is, or that refuse first and comply later, are known "
    "to be hard.",
    "It is no verdict on a text, and no search for personal data, falsehoods, bias, copyrighted "
    "text or backdoors with a trigger.",
    "The threshold is set so that a small share of harmless rows is lost as well. Rows near it on "
    "either side are worth reading.",
    "Tokens beyond the maximum length were not scored.",
)
