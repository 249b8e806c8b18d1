"""The typed configuration of a run; `config.yaml` in a run folder is its resolved form."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from gradshield.models.load import DEFAULT_MODEL, DTypeName
from gradshield.probes.proxies import DEFAULT_PROXY
from gradshield.scoring.batching import DEFAULT_BATCH_TOKENS
from gradshield.threshold import DEFAULT_RULE


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Settings):
    """Which model scores, and how its numbers are kept."""

    name: str = DEFAULT_MODEL
    adapter: str | None = None
    revision: str | None = None
    dtype: DTypeName = "auto"
    device: str = "auto"
    trust_remote_code: bool = False


class DataSettings(_Settings):
    """How rows become examples."""

    format: str = "auto"
    response: Literal["all", "last"] = "all"
    max_length: int = Field(default=2048, ge=2)


class ScoringSettings(_Settings):
    """What FIHS is taken of, and how it is computed."""

    proxy: str = DEFAULT_PROXY
    modules: str | None = None
    remove_benign: bool = False
    engine: str = "auto"
    batch_tokens: int = Field(default=DEFAULT_BATCH_TOKENS, ge=1)


class ThresholdSettings(_Settings):
    """How the threshold is chosen."""

    rule: str = DEFAULT_RULE
    level: float = Field(default=0.02, gt=0, lt=1)
    seed: int = 0


class RunConfig(_Settings):
    """Everything that decides the outcome of `gradshield filter`."""

    data_path: str
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    scoring: ScoringSettings = ScoringSettings()
    threshold: ThresholdSettings = ThresholdSettings()
    on_reject: Literal["hold", "keep", "fail"] = "hold"
