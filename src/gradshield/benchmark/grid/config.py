"""Which cells of the benchmark are measured, from a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gradshield.benchmark.attacks import ATTACKS
from gradshield.benchmark.task_data import TRAINING_ROWS
from gradshield.benchmark.training_methods import TRAINING_METHODS
from gradshield.config import ModelSettings, first_problem
from gradshield.errors import UserError
from gradshield.filters import filter_by_name
from gradshield.finetuning.supervised import TrainingSettings
from gradshield.yaml_files import parse_yaml

Protocol = Literal["equal_share", "own_threshold", "search"]
"""How a filter's scores divide the rows: as many removed as are harmful, by the filter's own rule,
or by finetuning and measuring, the same for every filter."""
Share = Annotated[float, Field(ge=0, lt=1)]


def _filter_name(name: str) -> str:
    try:
        filter_by_name(name)
    except UserError as fault:
        raise ValueError(str(fault).rstrip(".")) from fault
    return name


def _known(names: dict[str, object] | list[str]) -> AfterValidator:
    def check(name: str) -> str:
        if name not in names:
            raise ValueError(f"unknown, choose one of {', '.join(names)}")
        return name

    return AfterValidator(check)


TaskName = Annotated[str, _known(list(TRAINING_ROWS))]
AttackName = Annotated[str, _known(list(ATTACKS))]
MethodName = Annotated[str, _known(list(TRAINING_METHODS))]
FilterName = Annotated[str, AfterValidator(_filter_name)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SearchedFilters(_Part):
    """Filters whose threshold is searched for too, and to what end."""

    filters: tuple[FilterName, ...]
    target_asr: float = Field(default=0.06, gt=0, lt=1)
    utility_floor: float = Field(default=0.9, ge=0, le=1)
    tolerance: float = Field(default=0.1, gt=0, lt=1)
    max_finetunes: int = Field(default=6, ge=1)


class Finetunes(_Part):
    """What is finetuned and measured, of the data sets that are scored.

    Attributes:
        tasks: Of those of the grid; and so on.
        test_prompts: AdvBench prompts of the test.
        validation_prompts: Half packaged, half AdvBench prompts, for the search.
        over_refusal_prompts: XSTest's safe prompts, spread over its types.
        utility_items: Test items of the task; as many others are looked at by a search.
        search: None where no threshold is searched for.
        trainings: On the same rows, each in an order of its own; a search has one a threshold.
    """

    tasks: tuple[TaskName, ...]
    attacks: tuple[AttackName, ...]
    shares: tuple[Share, ...]
    seeds: tuple[int, ...]
    filters: tuple[FilterName, ...]
    training_methods: tuple[MethodName, ...] = ()
    protocols: tuple[Literal["equal_share", "own_threshold"], ...] = (
        "equal_share",
        "own_threshold",
    )
    search: SearchedFilters | None = None
    training: TrainingSettings
    trainings: int = Field(default=1, ge=1)
    test_prompts: int = Field(default=100, ge=1, le=100)
    validation_prompts: int = Field(default=50, ge=2, le=100)
    over_refusal_prompts: int = Field(default=50, ge=1)
    utility_items: int = Field(default=100, ge=1)
    answer_tokens: int = Field(default=24, ge=8)

    def asked(self) -> dict[str, tuple[Any, ...]]:
        """What must be scored for it, by the field of the grid."""
        searched = self.search.filters if self.search else ()
        unfiltered = ("none",) if self.training_methods else ()
        return {
            "tasks": self.tasks,
            "attacks": self.attacks,
            "shares": self.shares,
            "seeds": self.seeds,
            "filters": (*self.filters, *searched, *unfiltered),
        }


class GridConfig(_Part):
    """The benchmark: data sets = tasks x attacks x shares x seeds, each scored by every filter.

    Attributes:
        model: The aligned model.
        held_out_attacks: Attacks that nothing was tuned on; tables show them apart.
        rows: Of each data set.
        most_tokens: Longer rows of a task are not drawn, and attack rows are cut there.
        anchors: Harmful prompts, answered and refused, that filters may use.
        finetunes: What is finetuned, in this order; without any, scores alone are measured.
    """

    model: ModelSettings = ModelSettings()
    tasks: tuple[TaskName, ...] = Field(min_length=1)
    attacks: tuple[AttackName, ...] = Field(min_length=1)
    held_out_attacks: tuple[AttackName, ...] = ()
    shares: tuple[Share, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    rows: int = Field(default=200, ge=10)
    most_tokens: int = Field(default=256, ge=16)
    anchors: int = Field(default=40, ge=2)
    filters: tuple[FilterName, ...] = Field(min_length=1)
    finetunes: tuple[Finetunes, ...] = ()

    @model_validator(mode="after")
    def _finetunes_are_scored(self) -> GridConfig:
        for place, part in enumerate(self.finetunes):
            for name, asked in part.asked().items():
                scored = getattr(self, name)
                missing = [str(one) for one in asked if one not in scored]
                if missing:
                    raise ValueError(
                        f"finetunes.{place}.{name} has {', '.join(missing)}, which {name} lacks"
                    )
        return self


def read_config(path: Path) -> GridConfig:
    """Read a configuration.

    Raises:
        UserError: The file cannot be read, or a value cannot be; the text names the field.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
        return GridConfig.model_validate(content)
    except ValidationError as fault:
        raise UserError(f"{path}: {first_problem(fault)}.") from fault
    except (OSError, ValueError) as fault:
        raise UserError(f"The configuration {path} cannot be read ({fault}).") from fault
